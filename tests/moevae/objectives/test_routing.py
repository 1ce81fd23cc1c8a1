"""Routing: soft weighs, hard chooses going forward and is soft going back, sparse is soft on average."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import normal
from torch.nn import functional

from moevae.config.registry import ROUTINGS
from moevae.models.dispatch import draw_experts
from moevae.objectives.routing import gumbel, hard, sampled_cost, soft


@given(st.integers(1, 9), st.floats(0, 200), st.integers(0, 10**6), st.sampled_from(sorted(ROUTINGS)))
def test_weights_are_shares(experts, scale, seed, kind):
    log_probs = (scale * normal(2, experts, 6, seed=seed)).log_softmax(1)
    uniform = torch.rand(2, experts, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = ROUTINGS[kind](log_probs, uniform)
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


def test_gumbel_bears_the_end_of_the_scale():
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


def test_the_sparse_cost_is_what_the_drawn_experts_paid():
    log_probs, chosen = normal(2, 5, 6).log_softmax(1), torch.randint(0, 5, (2, 3, 6))
    elbo = normal(2, 3, 6, seed=1)
    torch.testing.assert_close(sampled_cost(log_probs, chosen, elbo), -elbo.mean(1))
