"""Balancing losses against scipy and the algebra of the coefficient of variation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small import normal

from moevae.balancing import BALANCINGS, kl_to_prior, log_importance, none, variance_of_sum

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


def test_importance_keeps_what_probabilities_lose():
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


def test_half_a_squared_cv_is_the_kl_near_balance():
    log_probs = gates(batch=2000, scale=0.5)
    cv = stats.variation(log_probs.exp().mean(-1).numpy(), axis=-1)
    assert kl_to_prior(log_probs, uniform()).tolist() == pytest.approx((cv**2 / 2).tolist(), rel=0.05)


@pytest.mark.parametrize("name", sorted(BALANCINGS))
def test_names_of_experts_do_not_matter_and_runs_do_not_meet(name):
    log_probs, log_prior, order = gates(), PRIOR.log().expand(3, 5), [2, 0, 4, 3, 1]
    loss = BALANCINGS[name](log_probs, log_prior)
    torch.testing.assert_close(BALANCINGS[name](log_probs[:, order], log_prior[:, order]), loss)
    alone = torch.cat([BALANCINGS[name](run[None], log_prior[:1]) for run in log_probs])
    torch.testing.assert_close(alone, loss)


def test_none_is_nothing():
    assert none(gates(), uniform()).tolist() == [0.0, 0.0, 0.0]
