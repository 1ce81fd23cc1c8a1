"""The importance-weighted bound: laws, a closed form, and a slow loop over everything."""

import math

import plain
import pytest
import torch
from linear import STD, Double, Linear
from small import EVEN, ODD, config, images, mixture, normal
from torch import distributions

from moevae.config.overrides import override
from moevae.data.binarization import target_images
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.iwae import iwae_bound
from moevae.evaluation.log_weights import BLOCK
from moevae.models.dispatch import Dispatch
from moevae.models.expert_bound import log_weights, reparameterize
from moevae.models.mixture import Mixture

IMAGES, PIXELS, LATENT, EXPERTS = 24, 5, 2, 3


def linear_case(samples, seed=0, chosen=None, chunk=10):
    experts, log_prior = (
        Linear(EXPERTS, LATENT, PIXELS),
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log(),
    )
    x = 2 * normal(IMAGES, PIXELS, seed=3)
    chosen = torch.arange(EXPERTS)[:, None].expand(-1, IMAGES)[None] if chosen is None else chosen
    bound = iwae_bound(experts, x[None], chosen, log_prior[None], Double([seed], "test"), samples, chunk)
    return bound.bound[0], experts.log_prob(x, log_prior)


def test_the_bound_rises_with_the_samples_towards_the_likelihood():
    means = []
    for samples in (1, 8, 500):
        bounds = torch.stack(
            [linear_case(samples, seed, chunk=50)[0] for seed in range(10 if samples < 100 else 1)]
        )
        means.append(bounds.mean().item())
    truth = linear_case(1)[1].mean().item()
    assert means == sorted(means)
    assert means[0] < truth - 0.1
    assert means[-1] == pytest.approx(truth, abs=0.03)


def test_weights_of_the_exact_posterior_do_not_vary():
    """One latent dimension: the encoder can be the posterior, and every sample gives log p(x) exactly."""
    slope, x = 1.7, normal(9, 1, seed=5)
    variance = torch.full((9, 1), 1 / (1 + slope**2 / 0.64), dtype=torch.float64)
    mu, noise = variance * slope * x / 0.64, normal(9, 6, 1, seed=6)
    z = reparameterize(mu, variance.log(), noise)  # [B, S, 1]
    recon = distributions.Normal(slope * z, 0.8).log_prob(x.unsqueeze(1)).sum(-1)
    truth = distributions.Normal(0.0, math.sqrt(slope**2 + 0.64)).log_prob(x).double()
    torch.testing.assert_close(
        log_weights(recon, mu, variance.log(), noise), truth.expand(-1, 6), atol=1e-6, rtol=0
    )


PRIOR = torch.tensor([0.5, 0.3, 0.2])


def weighted(samples, seed=0, chunk=50):
    experts, log_prior = Linear(EXPERTS, LATENT, PIXELS), PRIOR.log()[None]
    chosen = torch.arange(EXPERTS)[:, None].expand(-1, IMAGES)[None]
    x = 2 * normal(IMAGES, PIXELS, seed=3)[None]
    return iwae_bound(experts, x, chosen, log_prior, Double([seed], "test"), samples, chunk)


def test_effective_samples_and_groups_are_those_of_all_weights():
    """A slow oracle that keeps every weight: it needs memory for all of them."""
    experts, x = Linear(EXPERTS, LATENT, PIXELS), 2 * normal(IMAGES, PIXELS, seed=3)
    found, noise = weighted(230), Double([0], "test")
    draws = torch.stack([noise.normal(EXPERTS, BLOCK, LATENT)[0, :, :IMAGES] for _ in range(230)], 2)
    weights = []
    for k in range(EXPERTS):
        mu, logvar = experts.encode(x, torch.full((IMAGES,), k))
        posterior = distributions.Normal(mu.unsqueeze(1), (0.5 * logvar).exp().unsqueeze(1))
        z = posterior.mean + posterior.scale * draws[k]
        image = distributions.Normal(z @ experts.weight[k] + experts.bias[k], STD)
        joint = image.log_prob(x.unsqueeze(1)).sum(-1) + distributions.Normal(0, 1).log_prob(z).sum(-1)
        weights.append((joint - posterior.log_prob(z).sum(-1)).exp() * PRIOR[k])
    every = torch.stack(weights)  # [K, B, S]
    ess = every.sum((0, 2)).square() / every.square().sum((0, 2))
    torch.testing.assert_close(found.ess[0], ess, rtol=1e-5, atol=1e-5)
    for name, size in (("hundredth", 2), ("tenth", 23)):
        groups = every.unflatten(-1, (-1, size)).mean(-1).sum(0).log().mean(-1)
        torch.testing.assert_close(found.fewer[name][0], groups, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.bound[0], every.mean(-1).sum(0).log(), rtol=1e-5, atol=1e-5)


def test_the_bound_of_fewer_samples_is_lower_and_effective_samples_are_fewer_than_all():
    found = weighted(1000)
    small, middle, whole = (each.mean() for each in (*found.fewer.values(), found.bound))
    assert small < middle < whole
    assert found.ess.min() >= 1
    assert found.ess.max() <= 1000 * EXPERTS
    assert weighted(9).fewer == {}
    assert list(weighted(10).fewer) == ["tenth"]


def test_leaving_experts_out_lowers_the_bound():
    whole, _ = linear_case(300, chunk=100)
    some = torch.stack([torch.arange(IMAGES) % 3, (torch.arange(IMAGES) + 1) % 3])[None]
    fewer, _ = linear_case(300, chunk=100, chosen=some)
    assert (fewer < whole + 0.5).all()
    assert fewer.mean() < whole.mean()


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_the_chunk_decides_no_number(chunk):
    own, chunked = (linear_case(7, chunk=each)[0] for each in (7, chunk))
    torch.testing.assert_close(chunked, own, rtol=1e-12, atol=1e-12)


def run(**changes):
    return config(
        ODD | {"evaluation.iwae_samples": 40, "model.expert_prior": (1, 2, 3, 4, 5, 6, 7), **changes}
    )


def test_a_slow_loop_gives_the_same_bound():
    own = run()
    model, data = mixture(own), images(test=11)
    x = target_images(data.test, own.data, "test").double()
    chosen = torch.arange(7)[:, None].expand(-1, 11)[None]
    log_prior = torch.tensor(own.model.expert_prior, dtype=torch.float64).log()[None]
    found = iwae_bound(model.experts, x[None], chosen, log_prior, Double([5], "test"), 6, chunk=4)
    found = found.bound[0]

    noise = Double([5], "test")
    draws = torch.stack([noise.normal(7, BLOCK, 3)[0, :, :11] for _ in range(6)])  # [S, K, B, Z]
    bounds = []
    for k in range(7):
        vae = plain.expert(model, 0, k)
        mu, logvar = vae.encoder(x).chunk(2, -1)
        weights = []
        for noise in draws[:, k]:
            posterior = distributions.Normal(mu, (0.5 * logvar).exp())
            z = mu + posterior.scale * noise
            likelihood = distributions.Bernoulli(logits=vae.decoder(z)).log_prob(x).sum(-1)
            prior = distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
            weights.append(likelihood + prior - posterior.log_prob(z).sum(-1))
        bounds.append(torch.stack(weights).exp().mean(0).log() + log_prior[0, k])
    torch.testing.assert_close(found, torch.stack(bounds).exp().sum(0).log(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("likelihood", ["bernoulli", "autoregressive"])
def test_evaluation_measures_it_alone_and_in_a_population_for_any_chunk(likelihood):
    configs = [override(run(), {"seed": seed, "model.likelihood": likelihood}) for seed in (0, 1)]
    model, data = mixture(configs[0], seeds=(0, 1)).float(), images(test=BLOCK + 16)
    together = evaluate(model, configs, data)
    small = evaluate(model, configs, data, chunk=1)
    for index, own in enumerate(configs):
        alone = Mixture(own.model, model.size, (own.seed,))
        alone.load_state_dict({name: value[index : index + 1] for name, value in model.state_dict().items()})
        (found,) = evaluate(alone, [own], data)
        assert found.metrics == together[index].metrics
        assert small[index].metrics["iwae_bound"] == pytest.approx(found.metrics["iwae_bound"], rel=1e-6)
        assert found.metrics["iwae_bound"] > found.metrics["marginal_elbo"]
        assert "iwae_bound" not in evaluate(alone, [own], data, importance=False)[0].metrics


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.likelihood": "autoregressive", "model.pixel_network": "made"},
        {"model.likelihood": "autoregressive", "model.pixel_network": "conv", "model.latent_prior": "vamp"},
        {"model.expert_network": "conv", "model.expert_hidden": (4, 8), "model.latent_prior": "hierarchical"},
    ],
)
def test_rounded_weights_move_its_bounds_little_and_no_other_metric(changes):
    own = run(**changes)
    model, data = mixture(own).float(), images(test=BLOCK)
    (exact,), (rounded,) = (
        evaluate(model, [override(own, {"evaluation.iwae_precision": precision})], data)
        for precision in ("float32", "bfloat16")
    )
    moved = {name for name, value in exact.metrics.items() if rounded.metrics[name] != value}
    assert "iwae_bound" in moved
    assert all(name.startswith("iwae_") for name in moved)
    assert rounded.metrics["iwae_bound"] == pytest.approx(exact.metrics["iwae_bound"], abs=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_fewer_images_and_fewer_experts_are_a_part_of_the_work():
    model, data = mixture(run()).float(), images(test=BLOCK + 30)
    first = images(test=BLOCK + 30)
    part = type(data)("part", "0" * 64, 5, 6, data.train, data.validation, first.test[:50])
    (whole,) = evaluate(model, [run(**{"evaluation.iwae_images": 50})], data)
    (cut,) = evaluate(model, [run()], part)
    assert whole.metrics["iwae_bound"] == pytest.approx(cut.metrics["iwae_bound"], rel=1e-6)
    bounds = [
        evaluate(model, [run(**{"evaluation.iwae_experts": count})], data)[0].metrics["iwae_bound"]
        for count in (1, 3, 7, 9)
    ]
    assert bounds[0] < bounds[1] < bounds[2] == bounds[3]


def test_the_most_probable_expert_is_chosen_by_many_samples():
    """A setting of the other bounds, which have one sample by default, decides nothing."""
    model, data = mixture(run()).float(), images(test=BLOCK)
    few, more = (
        evaluate(model, [run(**{"evaluation.iwae_experts": 1, "evaluation.num_samples": count})], data)[0]
        for count in (1, 20)
    )
    assert few.metrics["mixture_elbo"] != more.metrics["mixture_elbo"]
    assert few.metrics["iwae_bound"] == more.metrics["iwae_bound"]


def test_marginal_bounds_of_fewer_images_are_those_of_the_first():
    model, data = mixture(run()).float(), images(test=BLOCK + 30)
    part = type(data)("part", "0" * 64, 5, 6, data.train, data.validation, data.test[:50])
    (whole,) = evaluate(model, [run()], data)
    (some,) = evaluate(model, [run(**{"evaluation.marginal_images": 50})], data)
    (cut,) = evaluate(model, [run()], part)
    moved = {name for name in whole.metrics if some.metrics[name] != whole.metrics[name]}
    assert moved == {"marginal_elbo", "gate_gap"}
    for name in moved:
        assert some.metrics[name] == pytest.approx(cut.metrics[name], rel=1e-5)


def test_one_expert_is_the_iwae_of_a_plain_vae():
    own = config(EVEN | {"model.num_experts": 1, "evaluation.iwae_samples": 1, "evaluation.num_samples": 200})
    model, data = mixture(own).float(), images(test=400)
    (one,) = evaluate(model, [own], data)
    # One importance sample is the ELBO, with KL(q || p) sampled too.
    assert one.metrics["iwae_bound"] == pytest.approx(one.metrics["mixture_elbo"], abs=0.3)


def test_rows_keep_their_samples_together():
    chosen = torch.tensor([[[1, 0, 1]]])
    dispatch = Dispatch.of(chosen, 2)
    assert dispatch.rows(torch.arange(6).view(1, 1, 3, 2)).tolist() == [[2, 3], [0, 1], [4, 5]]
