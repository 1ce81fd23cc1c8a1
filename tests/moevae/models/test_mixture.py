"""The mixture: bounds that keep their order, and an oracle without stacking."""

import itertools
import math

import numpy as np
import plain
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import HEIGHT, ODD, WIDTH, config, drawn, mixture, normal, same, weights
from torch import distributions
from torch.nn import functional

import moevae
from moevae.models.mixture import Mixture
from moevae.nn.stacked import Stacked, count_parameters
from moevae.objectives.bounds import map_elbo, marginal_elbo, mixture_elbo, posterior_log_probs

PIXELS = HEIGHT * WIDTH
HEAT = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


@st.composite
def bounds(draw):
    """Experts' ELBOs and a gate, [2, K, 6], from moderate to extreme, and a prior, [2, K] or [K]."""
    experts, seed = draw(st.integers(1, 12)), draw(st.integers(0, 10**6))
    scale, sharpness = draw(st.sampled_from([0.1, 1.0, 100.0, 1e4])), draw(st.floats(0, 100))
    expert_elbo = scale * (normal(2, experts, 6, seed=seed) - 3)
    log_q = (sharpness * normal(2, experts, 6, seed=seed + 1)).log_softmax(1)
    log_prior = normal(2, experts, seed=seed + 2).log_softmax(1)
    return expert_elbo, log_q, draw(st.sampled_from([log_prior, log_prior[1]]))


def kl(log_q, log_p):
    return (log_q.exp() * (log_q - log_p)).sum(1)


@given(bounds())
def test_the_gap_between_the_bounds_is_the_gates_divergence_from_the_responsibilities(given):
    expert_elbo, log_q, log_prior = given
    tight, mixed = marginal_elbo(expert_elbo, log_prior), mixture_elbo(expert_elbo, log_q, log_prior)
    tolerance = 1e-10 * (1 + expert_elbo.abs().max())
    assert (tight >= mixed - tolerance).all()
    gap = kl(log_q, (expert_elbo + log_prior.unsqueeze(-1)).log_softmax(1))
    torch.testing.assert_close(tight - mixed, gap, rtol=1e-9, atol=tolerance.item())


@given(bounds())
def test_the_bounds_meet_where_the_gate_is_the_posterior(given):
    expert_elbo, _, log_prior = given
    best = mixture_elbo(expert_elbo, posterior_log_probs(expert_elbo, log_prior), log_prior)
    torch.testing.assert_close(best, marginal_elbo(expert_elbo, log_prior))


@given(bounds())
def test_responsibilities_are_bayes_rule(given):
    expert_elbo, _, log_prior = given
    joint = log_prior.unsqueeze(-1).exp() * (expert_elbo - expert_elbo.amax(1, keepdim=True)).exp()
    torch.testing.assert_close(
        posterior_log_probs(expert_elbo, log_prior).exp(), joint / joint.sum(1, keepdim=True)
    )


@given(bounds())
def test_the_gates_average_overstates_the_bound_by_its_divergence_from_the_prior(given):
    expert_elbo, log_q, log_prior = given
    excess = (log_q.exp() * expert_elbo).sum(1) - mixture_elbo(expert_elbo, log_q, log_prior)
    tolerance = 1e-10 * (1 + expert_elbo.abs().max().item())
    torch.testing.assert_close(excess, kl(log_q, log_prior.unsqueeze(-1)), rtol=1e-9, atol=tolerance)
    assert (excess >= -tolerance).all()
    assert (excess <= -log_prior.min() + tolerance).all()


@given(bounds())
def test_the_map_bound_is_that_of_a_one_hot_gate(given):
    expert_elbo, log_q, log_prior = given
    chosen = log_q.argmax(1)
    one_hot = functional.one_hot(chosen, log_q.shape[1]).transpose(1, 2).double()
    hard = map_elbo(expert_elbo, chosen, log_prior)
    torch.testing.assert_close(hard, mixture_elbo(expert_elbo, one_hot.log(), log_prior))
    assert (hard <= marginal_elbo(expert_elbo, log_prior) + 1e-10 * (1 + expert_elbo.abs().max())).all()


@given(bounds())
def test_without_a_prior_it_is_uniform(given):
    expert_elbo, log_q, _ = given
    uniform = torch.zeros(expert_elbo.shape[1]).double().log_softmax(0)
    for bound, gate in (
        (mixture_elbo, (log_q,)),
        (marginal_elbo, ()),
        (posterior_log_probs, ()),
        (map_elbo, (log_q.argmax(1),)),
    ):
        torch.testing.assert_close(bound(expert_elbo, *gate), bound(expert_elbo, *gate, log_prior=uniform))


def test_bounds_of_one_image_by_hand():
    expert_elbo = torch.tensor([[[-1.0], [-3.0]]], dtype=torch.float64)
    log_q = torch.tensor([[[0.75], [0.25]]], dtype=torch.float64).log()
    by_hand = 0.75 * -1 + 0.25 * -3 - (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert mixture_elbo(expert_elbo, log_q).item() == pytest.approx(by_hand)
    assert marginal_elbo(expert_elbo).item() == pytest.approx(math.log((math.exp(-1) + math.exp(-3)) / 2))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_exact_likelihood_is_above_the_tight_bound(likelihood):
    """One latent dimension: log p(x) and the bounds' expectations are integrals done by quadrature."""
    sizes = {"model.latent_dim": 1, "model.num_experts": 3, "model.activation": "tanh"}
    run = config(sizes | {"model.likelihood": likelihood})
    model = mixture(run)
    x = (normal(8, PIXELS, seed=1) > 0).double()
    grid = torch.linspace(-12, 12, 6001, dtype=torch.float64)
    log_prior = distributions.Normal(0.0, 1.0).log_prob(grid) + math.log(24 / 6000)
    experts = [plain.expert(model, 0, k) for k in range(3)]
    joint = [vae.log_prob(grid[:, None, None], x) + log_prior[:, None] for vae in experts]  # [grid, B]
    log_p = torch.cat(joint).logsumexp(0) - math.log(3)

    nodes, masses = np.polynomial.hermite_e.hermegauss(40)
    outputs = [model(x[None], torch.full((1, 3, 8, 1), node).double(), HEAT[:1]) for node in nodes]
    share = torch.from_numpy(masses / masses.sum())
    recon = sum(part * output.recon_log_prob for part, output in zip(share, outputs, strict=True))
    expert_elbo = recon - outputs[0].kl_z
    tight = marginal_elbo(expert_elbo)[0]
    assert (log_p > tight).all()
    assert (tight > mixture_elbo(expert_elbo, outputs[0].gate_log_probs)[0]).all()
    for k in range(3):  # what is missing is each expert's own gap, KL(q(z|x) || p(z|x))
        mu, logvar = model.experts.encode(x[None])
        posterior = distributions.Normal(mu[0, k, :, 0], (0.5 * logvar[0, k, :, 0]).exp())
        log_q = posterior.log_prob(grid[:, None]) + math.log(24 / 6000)
        log_p_k = joint[k].logsumexp(0)
        gap = (log_q.exp() * (log_q - joint[k] + log_p_k)).sum(0)
        torch.testing.assert_close(log_p_k - expert_elbo[0, k], gap, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ODD,
        {"model.expert_hidden": (), "model.gate_hidden": ()},
        {"model.activation": "sigmoid", "model.likelihood": "gaussian", "model.variance_floor": 1e-2},
        {"model.activation": "tanh", "model.num_experts": 1},
    ],
    ids=["even", "odd", "linear", "2019", "one"],
)
def test_stacking_is_a_loop_over_runs_and_experts(changes):
    model = mixture(config(changes), seeds=(0, 1, 2))
    sizes = model.config
    x = (normal(3, 11, PIXELS, seed=1) > 0).double()
    noise = normal(3, sizes.num_experts, 11, sizes.latent_dim, seed=2)
    terms = model(x, noise, HEAT)
    for run, k in itertools.product(range(3), range(sizes.num_experts)):
        recon_log_prob, kl_z = plain.expert(model, run, k).terms(x[run], noise[run, k])
        torch.testing.assert_close(terms.recon_log_prob[run, k], recon_log_prob)
        torch.testing.assert_close(terms.kl_z[run, k], kl_z)
        torch.testing.assert_close(terms.expert_elbo[run, k], recon_log_prob - kl_z)
    for run, heat in enumerate(HEAT):
        q = distributions.Categorical(logits=plain.gate(model, run)(x[run]) / heat)
        torch.testing.assert_close(terms.gate_log_probs[run].T, q.logits)
        mixed = mixture_elbo(terms.expert_elbo, terms.gate_log_probs)[run]
        torch.testing.assert_close(mixed, plain.mixture_elbo(model, run, x[run], noise[run], heat.item()))


@pytest.mark.parametrize("changes", [{}, ODD, {"model.expert_hidden": ()}], ids=["even", "odd", "linear"])
def test_sparse_terms_are_the_dense_ones_of_the_chosen_experts(changes):
    model = mixture(config(changes), seeds=(0, 1, 2))
    sizes = model.config
    x = (normal(3, 11, PIXELS, seed=1) > 0).double()
    noise = normal(3, 2, 11, sizes.latent_dim, seed=2)
    uniform = torch.rand(3, 2, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sparse = model.sparse(x, noise, HEAT, drawn(uniform))
    for draw in range(2):
        dense = model(x, noise[:, draw].unsqueeze(1).expand(-1, sizes.num_experts, -1, -1), HEAT)
        chosen = sparse.chosen[:, draw].unsqueeze(1)
        torch.testing.assert_close(sparse.gate_log_probs, dense.gate_log_probs)
        for name in ("recon_log_prob", "kl_z"):
            expected = getattr(dense, name).gather(1, chosen).squeeze(1)
            torch.testing.assert_close(getattr(sparse, name)[:, draw], expected)


def test_a_run_starts_from_its_seed_alone():
    together, alone = (Mixture(config(ODD).model, (2, 5), seeds) for seeds in ((3, 4), (4,)))
    assert same(weights(together, 1), weights(alone, 0))
    assert not same(weights(together, 0), weights(together, 1))


def test_the_gates_start_does_not_depend_on_the_experts():
    small, large = (Mixture(config({"model.latent_dim": size}).model, (2, 5), (3,)) for size in (2, 5))
    assert torch.equal(small.gate.network.layers[0].weight, large.gate.network.layers[0].weight)


def test_drawing_is_the_decoders_mean_without_gradient():
    model, z = mixture(config(ODD), seeds=(0, 1)), normal(2, 7, 4, 3)
    drawn = model.decode_prior_samples(z)
    assert not drawn.requires_grad
    torch.testing.assert_close(drawn[1, 6], plain.expert(model, 1, 6).decoder(z[1, 6]).sigmoid())


@pytest.mark.parametrize(
    "settings",
    [
        {"model.gate_normalization": "batch", "train.batch_size": 8},
        {"model.expert_network": "conv", "model.expert_hidden": [3, 5], "model.gate_network": "conv"},
        {"model.decoder": "deformable"},
        {"model.likelihood": "autoregressive", "model.encoder": "shared"},
    ],
)
def test_print_shows_the_sizes_of_every_module(settings):
    model = Mixture(moevae.override(moevae.RunConfig(), settings).model, (9, 7), [0, 1])
    shown = repr(model)
    assert f"latents={model.latent_size}" in shown
    assert f"parameters_per_run={count_parameters(model)}" in shown
    for module in model.modules():
        if isinstance(module, Stacked):
            assert module.extra_repr() in shown
            assert any(character.isdigit() for character in module.extra_repr())
        elif type(module).__module__.startswith("moevae") and next(module.parameters(), None) is not None:
            assert module.extra_repr() in shown
            assert module.extra_repr()
