"""Balancing losses against scipy and the algebra of the coefficient of variation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats
from small import normal

from moevae.config.registry import BALANCINGS
from moevae.objectives.load_balancing import (
    importance_cv2,
    kl_to_prior,
    log_importance,
    none,
    sinkhorn,
    switch,
    toward_missing_load,
    variance_of_sum,
)

PRIOR = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], dtype=torch.float64)


def uniform(experts=5):
    return torch.full((1, experts), 1 / experts, dtype=torch.float64).log()


def gates(runs=3, experts=5, batch=40, scale=1.0, seed=0):
    return (scale * normal(runs, experts, batch, seed=seed)).log_softmax(1)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_kl_is_scipys_entropy_of_the_mean_probabilities(scale):
    log_probs = gates(scale=scale)
    importance = log_probs.exp().mean(-1)
    for prior in ([1 / 5] * 5, PRIOR.tolist()):
        expected = [stats.entropy(run, prior) for run in importance.numpy()]
        found = kl_to_prior(log_probs, torch.tensor(prior, dtype=torch.float64).log())
        assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_importance_keeps_values_that_probabilities_round_to_zero():
    log_probs = torch.tensor([[[0.0, 0.0], [-900.0, -900.0]]], dtype=torch.float64)
    assert log_importance(log_probs)[0].tolist() == pytest.approx([0.0, -900.0])


@given(st.integers(1, 12), st.integers(1, 60), st.floats(0, 50), st.integers(0, 10**6))
def test_kl_lies_between_zero_and_ln_k(experts, batch, scale, seed):
    value = kl_to_prior(gates(1, experts, batch, scale, seed), uniform(experts)).item()
    assert -1e-12 <= value <= math.log(experts) + 1e-12


def test_a_collapsed_gate_costs_ln_k():
    log_probs = torch.full((1, 10, 7), -1e4, dtype=torch.float64)
    log_probs[:, 3] = 0
    assert kl_to_prior(log_probs, uniform(10)).item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("name", sorted(BALANCINGS))
def test_sharing_as_the_prior_does_costs_nothing(name):
    one_hot = torch.eye(5, dtype=torch.float64)
    for prior in (uniform()[0].exp(), PRIOR):
        certain = one_hot.repeat_interleave((20 * prior).round().long(), 1).clamp_min(1e-300).log()
        for log_probs in (certain, prior.log()[:, None].expand(5, 8)):
            assert BALANCINGS[name](log_probs[None], prior.log()[None]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("experts", "batch"), [(5, 40), (10, 100), (3, 7)])
def test_variance_of_sum_is_a_cv_that_grows_with_the_batch(experts, batch):
    log_probs = gates(experts=experts, batch=batch)
    importance = log_probs.exp().mean(-1).numpy()
    expected = (batch / experts) ** 2 * stats.variation(importance, axis=-1) ** 2
    assert variance_of_sum(log_probs, uniform(experts)).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("name", sorted(BALANCINGS))
def test_the_order_of_experts_does_not_matter_and_runs_are_independent(name):
    log_probs, log_prior, order = gates(), PRIOR.log().expand(3, 5), [2, 0, 4, 3, 1]
    loss = BALANCINGS[name](log_probs, log_prior)
    torch.testing.assert_close(BALANCINGS[name](log_probs[:, order], log_prior[:, order]), loss)
    alone = torch.cat([BALANCINGS[name](run[None], log_prior[:1]) for run in log_probs])
    torch.testing.assert_close(alone, loss)


def small_departure(scale=1e-3):
    """d, [K]: shares pi (1 + d) still sum to one."""
    d = scale * normal(5, seed=7)
    return d - (PRIOR * d).sum()


@pytest.mark.parametrize("kind", [kl_to_prior, importance_cv2, sinkhorn])
def test_one_value_near_balance(kind):
    d = small_departure()
    same_answer = (PRIOR * (1 + d)).log()[None, :, None].expand(1, 5, 64)
    expected = (PRIOR * d.square()).sum().item() / 2
    assert kind(same_answer, PRIOR.log()[None]).item() == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("kind", [kl_to_prior, importance_cv2, switch])
def test_one_gradient_near_balance(kind):
    """In each probability, where the gate is certain; what is the same for all experts moves no softmax."""
    counts = torch.tensor([403, 298, 149, 101, 49])
    probs = torch.eye(5, dtype=torch.float64).repeat_interleave(counts, 1)[None].clamp_min(1e-12)
    probs.requires_grad_()
    kind(probs.log(), PRIOR.log()[None]).sum().backward()
    slope = 1000 * probs.grad[0].mean(1)
    d = counts / (1000 * PRIOR) - 1
    torch.testing.assert_close(slope - slope.mean(), d - d.mean(), rtol=0.03, atol=3e-4)


@pytest.mark.parametrize("name", sorted(BALANCINGS.keys() - {"none"}))
def test_the_gradient_leads_to_balance(name):
    logits = (2 * normal(1, 5, 60, seed=3) + torch.tensor([2.0, 1, 0, -1, -2])[:, None]).requires_grad_()
    before = kl_to_prior(logits.log_softmax(1), PRIOR.flip(0).log()[None])
    BALANCINGS[name](logits.log_softmax(1), PRIOR.flip(0).log()[None]).sum().backward()
    moved = logits.detach() - 1e-2 * logits.grad / logits.grad.norm()
    after = kl_to_prior(moved.log_softmax(1), PRIOR.flip(0).log()[None])
    assert after.item() < before.item() - 1e-5


def test_importance_cv2_is_half_of_scipys():
    log_probs = gates()
    cv = stats.variation(log_probs.exp().mean(-1).numpy(), axis=-1)
    assert importance_cv2(log_probs, uniform()).tolist() == pytest.approx((cv**2 / 2).tolist())


def test_the_switch_loss_is_that_of_the_paper():
    log_probs, (runs, experts, batch) = gates(scale=2.0), (3, 5, 40)
    q = log_probs.exp().numpy()
    for run in range(runs):
        f = [np.mean([q[run, :, b].argmax() == k for b in range(batch)]) for k in range(experts)]
        expected = experts * sum(f[k] * q[run, k].mean() for k in range(experts)) - 1
        assert switch(log_probs, uniform())[run].item() == pytest.approx(expected)


def cheapest(log_probs, prior):
    """The least E_x KL(s || q) among balanced answers s, from its dual, by a general optimizer; [K, B]."""

    def price(scaling):
        return special.logsumexp(scaling[:, None] + log_probs, axis=0).mean() - scaling @ prior

    return -optimize.minimize(price, np.zeros(len(prior)), tol=1e-12).fun


@pytest.mark.parametrize("scale", [0.3, 1.5])
def test_sinkhorn_and_its_gradient_are_those_of_the_minimal_transport_cost(scale):
    logits = (scale * normal(1, 5, 30, seed=4)).requires_grad_()
    loss = sinkhorn(logits.log_softmax(1), PRIOR.log()[None])
    loss.sum().backward()
    start = logits.detach()

    def least(at):
        return cheapest(at.log_softmax(1)[0].numpy(), PRIOR.numpy())

    assert loss.item() == pytest.approx(least(start), rel=1e-3)
    importance = start.softmax(1).mean(-1)[0]
    assert loss.item() > stats.entropy(PRIOR.numpy(), importance.numpy())
    way = normal(1, 5, 30, seed=5)
    numerical = (least(start + 1e-3 * way) - least(start - 1e-3 * way)) / 2e-3
    assert (logits.grad * way).sum().item() == pytest.approx(numerical, rel=2e-2)


@pytest.mark.parametrize("name", sorted(BALANCINGS))
def test_an_expert_that_no_image_can_reach_does_not_make_it_nan(name):
    closed = torch.tensor([0.0, -math.inf, -math.inf, -math.inf, -math.inf])[None, :, None].expand(1, 5, 8)
    assert BALANCINGS[name](closed, PRIOR.log().float()[None]).isfinite().all()


def test_no_balancing_has_zero_loss():
    assert none(gates(), uniform()).tolist() == [0.0, 0.0, 0.0]


def test_the_bias_moves_toward_missing_load():
    counts = torch.tensor([10, 6, 3, 1, 0])
    log_probs = torch.eye(5, dtype=torch.float64).repeat_interleave(counts, 1)[None].log_softmax(1)
    assert toward_missing_load(log_probs, PRIOR.log()[None]).tolist() == [[-1, 0, 0, 1, 1]]
    assert toward_missing_load(log_probs, uniform()).tolist() == [[-1, -1, 1, 1, 1]]
