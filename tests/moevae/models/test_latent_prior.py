"""Learned priors of z against torch.distributions and quadrature in one dimension."""

import itertools

import pytest
import torch
from linear import Double
from small import EVEN, ODD, config, images, mixture, normal, population, same, weights
from torch import distributions

from moevae.config.overrides import override
from moevae.errors import ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.iwae import iwae_bound
from moevae.models.dispatch import Dispatch
from moevae.models.latent_prior import Components
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

KINDS = pytest.mark.parametrize("kind", ["mixture", "vamp"])
LINE = torch.linspace(-12, 12, 4001, dtype=torch.float64)


def components(latents=1, count=5, runs=2, experts=3):
    shape = (runs, experts, count)
    return Components(
        2 * normal(*shape, latents, seed=1),
        normal(*shape, latents, seed=2) - 1,
        normal(*shape, seed=3).log_softmax(-1),
    )


def reference(prior, run, expert):
    """The same mixture, of torch.distributions."""
    each = distributions.Normal(prior.mu[run, expert], (0.5 * prior.logvar[run, expert]).exp())
    return distributions.MixtureSameFamily(
        distributions.Categorical(logits=prior.log_weights[run, expert]), distributions.Independent(each, 1)
    )


def model(kind, seeds=(0, 1), **changes):
    sizes = {"model.num_experts": 3, "model.latent_prior": kind, "model.prior_components": 4}
    return mixture(config(ODD | sizes | changes), seeds=seeds)


def binary(*shape):
    return (normal(*shape, seed=1) > 0).double()


def test_the_density_is_that_of_torch_for_all_experts_and_for_rows():
    prior, z = components(latents=3), normal(2, 3, 7, 3)
    found = prior.log_prob(z)
    rows = prior.log_prob_rows(z.flatten(0, 2).unsqueeze(1), [7 * count for count in range(1, 7)])
    torch.testing.assert_close(rows.view(2, 3, 7), found)
    for run, expert in itertools.product(range(2), range(3)):
        torch.testing.assert_close(found[run, expert], reference(prior, run, expert).log_prob(z[run, expert]))


def test_the_density_integrates_to_one():
    mass = components().log_prob(LINE.view(1, 1, -1, 1).expand(2, 3, -1, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(mass, LINE), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("count", [1, 5])
def test_the_divergence_bounds_that_of_quadrature(count):
    prior, mu, logvar = components(count=count), normal(2, 3, 6, 1), normal(2, 3, 6, 1, seed=4) - 1
    q = distributions.Normal(mu, (0.5 * logvar).exp())
    log_q = q.log_prob(LINE)  # [R, K, B, grid]
    log_p = prior.log_prob(LINE.view(1, 1, -1, 1).expand(2, 3, -1, 1)).unsqueeze(2)
    exact = torch.trapezoid(log_q.exp() * (log_q - log_p), LINE)
    found = prior.kl(mu, logvar)
    if count == 1:
        torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-6)
    else:
        assert (found > exact - 1e-9).all()
        assert (found - exact).max() > 0.01


def test_samples_have_the_moments_of_the_mixture():
    prior = components(runs=1, experts=2)
    noise = normal(1, 2, 200_000, 1)
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = prior.sample(noise, uniform)
    for expert in range(2):
        expected = reference(prior, 0, expert)
        torch.testing.assert_close(z[0, expert].mean(0), expected.mean, atol=0.02, rtol=0)
        torch.testing.assert_close(z[0, expert].var(0), expected.variance, atol=0.1, rtol=0.03)


@KINDS
def test_bounds_hold_and_meet_the_likelihood_of_quadrature(kind):
    """One latent: log p(x) is an integral over a line."""
    own, line = model(kind, (0,), **{"model.latent_dim": 1}).experts, LINE.view(1, 1, -1, 1)
    x = binary(1, 11, 30)
    grid = line.expand(1, 3, -1, 1)
    log_prior = own.prior_components().log_prob(grid).detach()
    truth = torch.stack(
        [
            torch.trapezoid((own.recon_log_prob(grid, one.expand(1, 1, 30)) + log_prior).exp(), LINE).log()
            for one in x[0].unsqueeze(1)
        ],
        -1,
    ).detach()  # [R, K, B]
    chosen, even = torch.arange(3)[None, :, None].expand(1, 3, 11), torch.zeros(1, 3)
    for expert in range(3):
        one = chosen[:, expert : expert + 1]
        bound = iwae_bound(own, x, one, even, Double([0], "test"), 3000, chunk=100)
        off = (bound.bound[0] - truth[0, expert]).detach()
        assert off.abs().mean() < 0.1
        assert off.abs().max() < 0.4
    recon, kl_z = own.dense(x, normal(1, 3, 11 * 4000, 1))
    elbo = (recon - kl_z).detach()
    assert (elbo < truth + 0.1).all()
    # The closed form that experts are compared by is below the sampled bound, but for the reconstruction.
    assert (own.prior_components().kl(*own.encode(x)) > kl_z - 0.1).all()


@KINDS
def test_rows_of_chosen_experts_are_those_of_all(kind):
    own, x = model(kind), binary(2, 5, 30)
    noise, chosen = normal(2, 3, 10, 3), torch.tensor([[[2, 0, 1, 2, 2]], [[1, 1, 0, 1, 2]]])
    for bound in ("elbo", "iwae"):
        dense = own.experts.dense(x, noise, bound)
        picked = noise.unflatten(2, (5, 2)).gather(1, chosen[..., None, None].expand(-1, -1, -1, 2, 3))
        sparse = own.experts.sparse(x, picked.flatten(2, 3), Dispatch.of(chosen, 3), bound)
        for every, some in zip(dense, sparse, strict=True):
            torch.testing.assert_close(some, every.gather(1, chosen))


@pytest.mark.parametrize("changes", [{}, {"model.encoder": "shared"}])
def test_the_vamp_prior_is_the_encoder_at_the_pseudo_inputs(changes):
    own = model("vamp", **changes).experts
    pseudo, prior = own.latent_prior.images(), own.prior_components()
    assert pseudo.min() > 0
    assert pseudo.max() < 1
    for expert in range(3):
        mu, logvar = own.encode(pseudo[:, expert])
        torch.testing.assert_close(prior.mu[:, expert], mu[:, expert])
        torch.testing.assert_close(prior.logvar[:, expert], logvar[:, expert])
    torch.testing.assert_close(prior.log_weights.exp().sum(-1), torch.ones(2, 3, dtype=torch.float64))


@KINDS
@pytest.mark.parametrize("routing", ["soft", "sampled"])
@pytest.mark.parametrize("sizes", [EVEN, ODD])
def test_other_runs_change_no_bit(kind, routing, sizes):
    changes = {"train.batch_size": 16, "train.num_samples": 2, "objective.bound": "iwae"}
    changes |= {"model.latent_prior": kind, "model.prior_components": 16, "evaluation.iwae_samples": 3}
    runs, data = population(sizes, routing, **changes), images()
    together = fit(runs, data)
    measured = evaluate(together.model, runs, data)
    for run, own in enumerate(runs):
        alone = fit([own], data)
        assert same(weights(alone.model, 0), weights(together.model, run))
        assert evaluate(alone.model, [own], data)[0].metrics == measured[run].metrics


@KINDS
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_prior_is_trained(kind, precision):
    run = config({"model.latent_prior": kind, "train.precision": precision})
    training = Trainer([run], images(), torch.device("cpu"))
    training.step(0, next(training.batches.epoch()))
    prior = training.model.experts.latent_prior
    assert all(parameter.grad.any() for parameter in prior.parameters())


@KINDS
def test_kept_experts_keep_their_prior(kind):
    own, kept = model(kind), torch.tensor([[2, 0], [1, 2]])
    before, after = own.experts.prior_components(), own.keep_experts(kept).experts.prior_components()
    for name in ("mu", "logvar", "log_weights"):
        whole = getattr(before, name)
        there = kept.view(2, 2, *[1] * (whole.ndim - 2)).expand(-1, -1, *whole.shape[2:])
        torch.testing.assert_close(getattr(after, name), whole.gather(1, there))


def test_a_deformable_decoder_keeps_its_prior():
    with pytest.raises(ConfigError, match=r"model\.latent_prior"):
        override(config(), {"model.decoder": "deformable", "model.latent_prior": "vamp"})


def test_seeds_choose_other_components():
    own, noise = model("mixture").experts, normal(2, 3, 1, 3)
    first, again, other = (own.prior_samples(noise, torch.tensor([u])) for u in (0.01, 0.01, 0.99))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(own.prior_samples(noise), own.prior_samples(noise))
