"""Routing: hard routing has the gradient of soft routing, and sparse routing equals it in expectation."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import config, images, normal
from torch.nn import functional

from moevae.config.registry import ROUTINGS
from moevae.errors import ConfigError
from moevae.models.dispatch import draw_experts
from moevae.objectives.routing import gumbel, hard, sampled_cost, soft, standard_normal, top_k
from moevae.training.trainer import Trainer


@given(st.integers(1, 9), st.floats(0, 200), st.integers(0, 10**6), st.sampled_from(sorted(ROUTINGS)))
def test_weights_are_shares(experts, scale, seed, kind):
    log_probs = (scale * normal(2, experts, 6, seed=seed)).log_softmax(1)
    uniform = torch.rand(2, experts, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    traits = ROUTINGS.traits(kind)
    more = {"k": min(2, experts)} if "settings" in traits else {}
    weights = ROUTINGS[kind](log_probs, uniform, **more)
    assert weights.shape == log_probs.shape
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 6, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_hard_is_exactly_one_hot_at_the_likeliest(dtype, scale):
    log_probs = (scale * normal(3, 7, 50, dtype=dtype)).log_softmax(1)
    weights = hard(log_probs)
    assert ((weights == 0) | (weights == 1)).all()
    assert torch.equal(weights.argmax(1), log_probs.argmax(1))
    assert torch.equal(weights.sum(1), torch.ones(3, 50, dtype=dtype))


def test_hard_has_the_gradient_of_soft():
    value = normal(2, 5, 8, seed=1)

    def gradient(route):
        logits = normal(2, 5, 8).requires_grad_()
        (route(logits.log_softmax(1)) * value).sum().backward()
        return logits.grad

    assert torch.equal(gradient(hard), gradient(soft))
    assert gradient(hard).abs().min() > 0


def test_gumbel_draws_experts_with_their_probabilities():
    log_probs = torch.tensor([0.5, 0.0, 0.3, 0.2]).log()[None, :, None].expand(2, 4, 20_000)
    weights = gumbel(log_probs, torch.rand(2, 4, 20_000, generator=torch.Generator().manual_seed(0)))
    assert ((weights == 0) | (weights == 1)).all()
    torch.testing.assert_close(weights.mean(-1), log_probs[..., 0].exp(), rtol=0, atol=0.02)
    assert not weights[:, 1].any()


def test_gumbels_gradient_is_the_papers():
    value, uniform = normal(2, 5, 8, seed=1), torch.rand(2, 5, 8, dtype=torch.float64)
    noise = -torch.log(-torch.log(uniform))

    def gradient(route):
        logits = normal(2, 5, 8).requires_grad_()
        weights = route(logits)
        (weights * value).sum().backward()
        return weights.detach(), logits.grad

    def textbook(logits):
        relaxed = (logits + noise).softmax(1)
        one_hot = functional.one_hot(relaxed.argmax(1), 5).transpose(1, 2)
        return one_hot - relaxed.detach() + relaxed

    for ours, theirs in zip(
        gradient(lambda logits: gumbel(logits.log_softmax(1), uniform)), gradient(textbook), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_gumbel_weights_are_finite_for_extreme_draws():
    weights = gumbel(torch.zeros(1, 3, 4).log_softmax(1), torch.zeros(1, 3, 4))
    assert weights.sum(1).tolist() == [[1.0] * 4]


def test_experts_are_drawn_with_their_probabilities():
    log_probs = torch.tensor([0.5, 0.0, 0.3, 0.2]).log()[None, :, None].expand(2, 4, 3)
    uniform = torch.rand(2, 20_000, 3, generator=torch.Generator().manual_seed(0))
    chosen = draw_experts(log_probs, uniform)
    shares = torch.stack([(chosen == k).double().mean(1) for k in range(4)], 1)
    torch.testing.assert_close(shares, log_probs.exp().double(), rtol=0, atol=0.02)
    assert not (chosen == 1).any()


def test_the_ends_of_the_scale_are_experts_too():
    log_probs = (3 * normal(1, 7, 50, dtype=torch.float32)).log_softmax(1)
    for end in (0.0, 1 - 2**-24):
        chosen = draw_experts(log_probs, torch.full((1, 1, 50), end))
        assert (log_probs.gather(1, chosen) > -25).all()
        assert ((chosen >= 0) & (chosen < 7)).all()


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_the_sparse_gradient_is_soft_routings_on_average(draws):
    """All choices of all images, each with its probability: the expectation is exact."""
    experts, batch = 3, 2
    elbo = 5 * normal(1, experts, batch, seed=1) - 20
    start = normal(1, experts, batch, seed=2)

    def gradients(cost):
        logits, elbos = start.clone().requires_grad_(), elbo.clone().requires_grad_()
        return torch.autograd.grad(cost(logits.log_softmax(1), elbos).sum(), (logits, elbos))

    exact = gradients(lambda log_probs, elbos: -(soft(log_probs) * elbos).sum(1))
    mean = [torch.zeros_like(each) for each in exact]
    probs = start.softmax(1)
    for flat in itertools.product(range(experts), repeat=draws * batch):
        chosen = torch.tensor(flat).view(1, draws, batch)
        share = probs.gather(1, chosen).prod()
        found = gradients(lambda q, e, chosen=chosen: sampled_cost(q, chosen, e.gather(1, chosen)))
        mean = [total + share * each for total, each in zip(mean, found, strict=True)]
    for found, expected in zip(mean, exact, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_sparse_cost_is_that_of_the_drawn_experts():
    log_probs, chosen = normal(2, 5, 6).log_softmax(1), torch.randint(0, 5, (2, 3, 6))
    elbo = normal(2, 3, 6, seed=1)
    torch.testing.assert_close(sampled_cost(log_probs, chosen, elbo), -elbo.mean(1))


@given(
    st.integers(1, 8),
    st.integers(0, 7),
    st.floats(0.1, 100),
    st.integers(0, 10**6),
    st.sampled_from([0, 1.5]),
)
def test_the_largest_share_their_probability(k, more, scale, seed, noise):
    """NumPy's sort and sum are the oracle."""
    experts = k + more
    log_probs = (scale * normal(2, experts, 6, seed=seed)).log_softmax(1)
    uniform = torch.rand(2, experts, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = top_k(log_probs, uniform, k=k, noise=noise).numpy()
    score = log_probs.numpy() + noise * scipy.stats.norm.ppf(uniform.numpy())
    for run, image in itertools.product(range(2), range(6)):
        order = np.argsort(-score[run, :, image], kind="stable")[:k]
        expected = np.zeros(experts)
        expected[order] = scipy.special.softmax(score[run, order, image])
        np.testing.assert_allclose(found[run, :, image], expected, atol=1e-12)


def test_all_experts_are_soft_routing_and_one_is_hard():
    log_probs, unused = normal(2, 5, 8).log_softmax(1), torch.full((2, 5, 8), torch.nan)
    torch.testing.assert_close(top_k(log_probs, unused, k=5), soft(log_probs))
    assert torch.equal(top_k(log_probs, unused, k=1), hard(log_probs))


def test_only_the_largest_have_a_gradient():
    logits, value = normal(2, 5, 8).requires_grad_(), normal(2, 5, 8, seed=1)
    weights = top_k(logits.log_softmax(1), torch.zeros(2, 5, 8), k=2)
    (found,) = torch.autograd.grad((weights * value).sum(), logits)
    assert (found[weights == 0].abs() < 1e-12).all()
    two = logits.detach().topk(2, 1).indices
    alone = logits.detach().gather(1, two).requires_grad_()
    (expected,) = torch.autograd.grad((alone.softmax(1) * value.gather(1, two)).sum(), alone)
    torch.testing.assert_close(found.gather(1, two), expected)


def test_noise_chooses_others_with_the_normal_probability():
    log_probs = torch.tensor([0.0, -1.0, -9.0])[None, :, None].expand(1, 3, 4000)
    uniform = torch.rand(1, 3, 4000, generator=torch.Generator().manual_seed(0))
    won = top_k(log_probs, uniform, k=1, noise=1.0).mean(-1)[0]
    torch.testing.assert_close(won[1].item(), scipy.stats.norm.cdf(-1 / 2**0.5), rtol=0, atol=0.03)
    assert won[2] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_scale_are_finite_noise(dtype):
    ends = standard_normal(torch.tensor([0.0, 0.5, 1 - 2**-24], dtype=dtype))
    assert ends.isfinite().all()
    assert ends[1] == 0


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_only_the_largest_are_computed_and_the_loss_is_the_dense_one(noise):
    """Two trainers with the same draws: one computes the chosen experts, the other one weighs all of them."""
    run = config({"routing.kind": "top-k", "routing.k": 2, "routing.noise": noise})
    data, device = images(), torch.device("cpu")
    trainers = [Trainer([run], data, device) for _ in range(2)]
    sparse, dense = trainers
    batch = next(sparse.batches.epoch())
    heat, uniform = torch.ones(1), sparse.loss.routing_draws(sparse.model, sparse.objective)
    terms = sparse.loss.mixture_terms(sparse.model, sparse.objective, heat, batch, uniform)
    assert terms.expert_elbo.shape == (1, 2, 32)
    zero = dense.model(batch.target, torch.zeros(1, 4, 32, 4), heat, batch.gray)
    again = sparse.model.sparse(
        batch.target,
        torch.zeros(1, 2, 32, 4),
        heat,
        lambda log_probs: sparse.objective.route(log_probs, uniform).topk(2, 1).indices,
        batch.gray,
    )
    torch.testing.assert_close(sparse.objective(again, uniform), dense.objective(zero, uniform))
    weights = sparse.objective.expert_weights(again, uniform)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 32))
    torch.testing.assert_close(dense.objective.expert_weights(zero, uniform).gather(1, again.chosen), weights)


def test_top_k_needs_as_many_experts():
    with pytest.raises(ConfigError, match=r"routing\.k = 5"):
        config({"routing.kind": "top-k", "routing.k": 5})
    config({"routing.kind": "soft", "routing.k": 5})
