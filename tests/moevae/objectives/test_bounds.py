"""Bounds in training: several samples, importance weights, and the same numbers on every path."""

import math

import plain
import pytest
import torch
from small import EVEN, ODD, config, drawn, images, mixture, normal, same, weights
from torch import distributions

from moevae.config.overrides import override
from moevae.errors import ConfigError
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

HEAT = torch.ones(1, dtype=torch.float64)
CPU = torch.device("cpu")


def terms_of(samples, bound):
    run = config(ODD)
    model = mixture(run)
    x, noise = (normal(1, 8, 30, seed=1) > 0).double(), normal(1, 7, 8 * samples, 3, seed=2)
    return model, x, noise, model(x, noise, HEAT, bound=bound)


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_a_slow_loop_gives_the_same_terms(bound):
    model, x, noise, terms = terms_of(5, bound)
    for k in range(7):
        vae = plain.expert(model, 0, k)
        mu, logvar = vae.encoder(x[0]).chunk(2, -1)
        posterior, prior = distributions.Normal(mu, (0.5 * logvar).exp()), distributions.Normal(0.0, 1.0)
        recon, ratio = [], []
        for draw in noise[0, k].view(8, 5, 3).unbind(1):
            z = mu + posterior.scale * draw
            recon.append(distributions.Bernoulli(logits=vae.decoder(z)).log_prob(x[0]).sum(-1))
            ratio.append((prior.log_prob(z) - posterior.log_prob(z)).sum(-1))
        recon, ratio = torch.stack(recon), torch.stack(ratio)
        torch.testing.assert_close(terms.recon_log_prob[0, k], recon.mean(0))
        if bound == "elbo":
            expected = recon.mean(0) - distributions.kl_divergence(posterior, prior).sum(-1)
        else:
            expected = (recon + ratio).exp().mean(0).log()
        torch.testing.assert_close(terms.expert_elbo[0, k], expected)


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_sparse_and_dense_agree(bound):
    model, x, noise, _ = terms_of(5, bound)
    sparse = model.sparse(x, noise[:, :2], HEAT, drawn(normal(1, 2, 8, seed=3).sigmoid()), bound=bound)
    blocks = noise.unflatten(2, (8, 5))
    for choice, image in torch.cartesian_prod(torch.arange(2), torch.arange(8)).tolist():
        k = sparse.chosen[0, choice, image]
        moved = blocks.clone()
        moved[0, k, image] = blocks[0, choice, image]
        expected = model(x, moved.flatten(2, 3), HEAT, bound=bound)
        for name in ("recon_log_prob", "kl_z"):
            torch.testing.assert_close(
                getattr(sparse, name)[0, choice, image], getattr(expected, name)[0, k, image]
            )


def test_importance_weights_tighten_the_bound():
    assert (terms_of(400, "iwae")[-1].expert_elbo >= terms_of(400, "elbo")[-1].expert_elbo - 0.05).all()


@pytest.mark.parametrize("kind", ["soft", "sampled"])
def test_other_runs_and_interruption_change_no_bit(kind):
    changes = EVEN | {"train.num_samples": 3, "objective.bound": "iwae", "routing.kind": kind}
    changes |= {"train.learning_rate_schedule": "cosine"}
    configs, data = [config(changes, seed=seed) for seed in (0, 1)], images()
    together = fit(configs, data).model
    for index, own in enumerate(configs):
        first = Trainer([own], data, CPU)
        first.epoch()
        second = Trainer([own], data, CPU)
        second.restore(*first.state())
        second.epoch()
        assert same(weights(second.model, 0), weights(together, index))


def test_the_learning_rate_moves_step_by_step():
    run = config({"train.learning_rate_schedule": "cosine", "train.learning_rate": 0.1})
    training, rates = Trainer([run], images(), CPU), []
    step = training.optimizer.step
    training.optimizer.step = lambda rate, faster: (rates.append(rate), step(rate, faster))
    while not training.done:
        training.epoch()
    expected = [1e-5 + (0.1 - 1e-5) * (1 + math.cos(math.pi * index / 5)) / 2 for index in range(6)]
    assert rates == pytest.approx(expected)


def test_training_on_the_marginal_bound_moves_the_gate_to_the_posterior():
    run = config({"train.epochs": 3}, objective="marginal")
    assert all(torch.isfinite(value).all() for value in weights(fit([run], images()).model, 0).values())


def test_contradictory_settings_are_refused():
    with pytest.raises(ConfigError, match=r"objective\.expert_weights = posterior.*soft"):
        override(config({"routing.kind": "sampled"}), {"objective": "marginal"})
    with pytest.raises(ConfigError, match=r"train\.final_learning_rate.*constant"):
        config({"train.final_learning_rate": 0.1})
