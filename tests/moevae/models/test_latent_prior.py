"""Learned priors of z against torch.distributions and quadrature in one and two dimensions."""

import itertools
from typing import get_args, get_type_hints

import pytest
import torch
from linear import Double
from small import EVEN, ODD, config, images, mixture, normal, population, same, weights
from torch import distributions

from moevae.config.overrides import override
from moevae.config.schema import ModelConfig
from moevae.errors import ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.iwae import iwae_bound
from moevae.models.dispatch import Dispatch
from moevae.models.latent_prior import PRIORS, Components
from moevae.models.mixture import Mixture
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

MIXTURES = ["mixture", "vamp"]
KINDS = pytest.mark.parametrize("kind", [*MIXTURES, "hierarchical"])
LINE = torch.linspace(-12, 12, 4001, dtype=torch.float64)


def test_each_value_of_the_setting_but_the_normal_distribution_has_a_module():
    assert {*get_args(get_type_hints(ModelConfig)["latent_prior"])} == {"normal", *PRIORS}


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


def model(kind, seeds=(0, 1), size=(5, 6), **changes):
    sizes = {"model.num_experts": 3, "model.latent_prior": kind, "model.prior_components": 4}
    return mixture(config(ODD | sizes | changes), size, seeds)


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


@pytest.mark.parametrize("kind", MIXTURES)
def test_bounds_hold_and_meet_the_likelihood_of_quadrature(kind):
    """One latent: log p(x) is an integral over a line."""
    own, line = model(kind, (0,), **{"model.latent_dim": 1}).experts, LINE.view(1, 1, -1, 1)
    x = binary(1, 11, 30)
    grid = line.expand(1, 3, -1, 1)
    log_prior = own.learned_prior().log_prob(grid).detach()
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
    assert (own.learned_prior().kl(*own.encode(x)) > kl_z - 0.1).all()


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
    pseudo, prior = own.latent_prior.images(), own.learned_prior()
    assert pseudo.min() > 0
    assert pseudo.max() < 1
    for expert in range(3):
        mu, logvar = own.encode(pseudo[:, expert])
        torch.testing.assert_close(prior.mu[:, expert], mu[:, expert])
        torch.testing.assert_close(prior.logvar[:, expert], logvar[:, expert])
    torch.testing.assert_close(prior.log_weights.exp().sum(-1), torch.ones(2, 3, dtype=torch.float64))


@KINDS
@pytest.mark.parametrize("routing", ["soft", "sampled"])
@pytest.mark.parametrize("sizes", [pytest.param(EVEN, marks=pytest.mark.slow), ODD])
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
    assert all(parameter.grad.isfinite().all() for parameter in prior.parameters())


@pytest.mark.parametrize("kind", MIXTURES)
def test_kept_experts_keep_their_mixture(kind):
    own, kept = model(kind), torch.tensor([[2, 0], [1, 2]])
    before, after = own.experts.learned_prior(), own.keep_experts(kept).experts.learned_prior()
    for name in ("mu", "logvar", "log_weights"):
        whole = getattr(before, name)
        there = kept.view(2, 2, *[1] * (whole.ndim - 2)).expand(-1, -1, *whole.shape[2:])
        torch.testing.assert_close(getattr(after, name), whole.gather(1, there))


def layered(latents=2, size=(5, 6), **changes):
    """Experts with two layers of latents, whose m and s vary more than those of a new model."""
    own = model("hierarchical", size=size, **{"model.latent_dim": latents} | changes).experts
    with torch.no_grad():
        for layer in own.latent_prior.network.layers:
            layer.weight.copy_(normal(*layer.weight.shape, seed=layer.weight.numel()) / 3)
    return own


def conditional(own, upper, run, expert):
    """p(z1|z2) of torch.distributions, from the weights by hand; upper [..., Z2]."""
    hidden, (last,) = upper, own.latent_prior.network.layers[-1:]
    for layer in own.latent_prior.network.layers[:-1]:
        hidden = (hidden @ layer.weight[run, expert] + layer.bias[run, expert]).relu()
    mean, logvar = (hidden @ last.weight[run, expert] + last.bias[run, expert]).chunk(2, -1)
    return distributions.Normal(mean, (0.5 * logvar).exp())


@pytest.mark.parametrize(("latents", "lower"), [(2, 1), (5, 3)])
@pytest.mark.parametrize("hidden", [(33, 17), ()])
def test_the_density_of_two_layers_is_that_of_torch(latents, lower, hidden):
    own, z = layered(latents, **{"model.expert_hidden": hidden}), normal(2, 3, 7, latents)
    prior = own.learned_prior()
    found = prior.log_prob(z)
    rows = prior.log_prob_rows(z.unflatten(2, (7, 1)).flatten(0, 2), [7 * count for count in range(1, 7)])
    torch.testing.assert_close(rows.view(2, 3, 7), found)
    for run, expert in itertools.product(range(2), range(3)):
        one = z[run, expert]
        expected = conditional(own, one[:, lower:], run, expert).log_prob(one[:, :lower]).sum(-1)
        expected = expected + distributions.Normal(0, 1).log_prob(one[:, lower:]).sum(-1)
        torch.testing.assert_close(found[run, expert], expected)


PLANE = torch.linspace(-9, 9, 121, dtype=torch.float64)


def over_the_plane(values):
    """The integral of values, [..., grid, grid]."""
    return torch.trapezoid(torch.trapezoid(values, PLANE), PLANE)


def plane(own):
    """Log p(z) and z on a grid: [R, K, grid, grid] and [R, K, grid^2, 2]."""
    z = torch.cartesian_prod(PLANE, PLANE).expand(2, 3, -1, -1)
    return own.learned_prior().log_prob(z).detach().unflatten(-1, (len(PLANE), -1)), z


def test_the_density_of_two_layers_integrates_to_one():
    log_p, _ = plane(layered())
    torch.testing.assert_close(
        over_the_plane(log_p.exp()), torch.ones(2, 3, dtype=torch.float64), atol=1e-3, rtol=0
    )


def test_the_bound_of_two_layers_meets_the_likelihood_of_quadrature():
    """Two latents: log p(x) is an integral over a plane. A wide posterior keeps the weights even."""
    own = layered(size=(2, 3), **{"model.variance_floor": 2.0})
    (log_prior, z), x = plane(own), binary(2, 6, 6)
    truth = torch.stack(
        [
            over_the_plane((own.recon_log_prob(z, one).view_as(log_prior) + log_prior).exp()).log()
            for one in x.split(1, 1)
        ],
        -1,
    ).detach()  # [R, K, B]
    recon, kl_z = own.dense(x, normal(2, 3, 6 * 4000, 2))
    assert (recon - kl_z < truth + 0.1).all()
    chosen, even = torch.arange(3)[None, :, None].expand(2, 3, 6), torch.zeros(2, 3)
    for expert in range(3):
        one = chosen[:, expert : expert + 1]
        few, many = (
            iwae_bound(own, x, one, even, Double([0, 1], "test"), samples, chunk=100).bound - truth[:, expert]
            for samples in (1, 3000)
        )
        assert few.mean() < many.mean()
        assert many.abs().mean() < 0.05
        assert many.abs().max() < 0.3


def test_the_divergence_of_two_layers_is_exact_if_the_upper_layer_decides_nothing():
    own, (mu, logvar) = layered(5), (normal(2, 3, 6, 5), normal(2, 3, 6, 5, seed=4) - 1)
    q = distributions.Normal(mu, (0.5 * logvar).exp())
    with torch.no_grad():
        own.latent_prior.network.layers[0].weight.zero_()
    found = own.learned_prior().kl(mu, logvar)
    for run, expert in itertools.product(range(2), range(3)):
        lower = conditional(own, mu[run, expert, :, 3:], run, expert)
        prior = distributions.Normal(
            torch.cat([lower.mean, torch.zeros(6, 2)], -1), torch.cat([lower.stddev, torch.ones(6, 2)], -1)
        )
        own_q = distributions.Normal(q.mean[run, expert], q.stddev[run, expert])
        expected = distributions.kl_divergence(own_q, prior).sum(-1)
        torch.testing.assert_close(found[run, expert], expected)


def test_the_divergence_of_two_layers_is_that_of_many_samples_where_the_upper_layer_is_certain():
    own, mu = layered(5), normal(2, 3, 6, 5)
    logvar = torch.cat([normal(2, 3, 6, 3, seed=4) - 1, torch.full((2, 3, 6, 2), -12.0)], -1)
    q, prior = distributions.Normal(mu, (0.5 * logvar).exp()), own.learned_prior()
    z = q.mean + q.stddev * normal(4000, 2, 3, 6, 5)
    log_p = prior.log_prob(z.movedim(0, 2).flatten(2, 3)).unflatten(2, (4000, 6)).movedim(2, 0)
    sampled = q.log_prob(z).sum(-1) - log_p
    error = sampled.std(0) / len(z) ** 0.5
    assert ((prior.kl(mu, logvar) - sampled.mean(0)).abs() < 5 * error).all()


def test_samples_of_two_layers_follow_the_density():
    """The lower latent, given nothing, has the moments of the marginal density of quadrature."""
    own = layered()
    z = own.prior_samples(normal(2, 3, 100_000, 2)).detach()
    density = plane(own)[0].exp()
    for power in (1, 2):
        expected = over_the_plane(PLANE[:, None] ** power * density)
        torch.testing.assert_close((z[..., 0] ** power).mean(-1), expected, atol=0.03, rtol=0.03)
        together = over_the_plane(PLANE[:, None] * PLANE**power * density)
        torch.testing.assert_close((z[..., 0] * z[..., 1] ** power).mean(-1), together, atol=0.05, rtol=0.05)


def test_a_new_prior_of_two_layers_is_about_standard_normal():
    run = config({"model.latent_prior": "hierarchical", "model.expert_hidden": (400,)})
    z = normal(1, 4, 500, 4, dtype=torch.float32)
    moved = Mixture(run.model, (5, 6), (0,)).experts.prior_samples(z) - z
    assert 0 < moved.abs().mean() < 0.2


def test_kept_experts_keep_their_layers():
    own, kept, z = model("hierarchical"), torch.tensor([[2, 0], [1, 2]]), normal(2, 3, 4, 3)
    before = own.experts.learned_prior().log_prob(z)
    at = kept.view(2, 2, 1)
    after = (
        own.keep_experts(kept).experts.learned_prior().log_prob(z.gather(1, at[..., None].expand(2, 2, 4, 3)))
    )
    torch.testing.assert_close(after, before.gather(1, at.expand(2, 2, 4)))


def test_one_latent_has_no_two_layers():
    with pytest.raises(ConfigError, match=r"model\.latent_dim"):
        override(config(), {"model.latent_prior": "hierarchical", "model.latent_dim": 1})


def test_a_deformable_decoder_keeps_its_prior():
    with pytest.raises(ConfigError, match=r"model\.latent_prior"):
        override(config(), {"model.decoder": "deformable", "model.latent_prior": "vamp"})


def test_seeds_choose_other_components():
    own, noise = model("mixture").experts, normal(2, 3, 1, 3)
    first, again, other = (own.prior_samples(noise, torch.tensor([u])) for u in (0.01, 0.01, 0.99))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(own.prior_samples(noise), own.prior_samples(noise))
