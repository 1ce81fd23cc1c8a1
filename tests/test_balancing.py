"""Balancing losses against scipy and the algebra of the coefficient of variation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small import normal

from moevae.balancing import BALANCINGS, kl_to_uniform, log_importance, none, variance_of_sum


def gates(runs=3, experts=5, batch=40, scale=1.0, seed=0):
    return (scale * normal(runs, experts, batch, seed=seed)).log_softmax(1)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_kl_is_scipys_entropy_of_the_mean_probabilities(scale):
    log_probs = gates(scale=scale)
    importance = log_probs.exp().mean(-1)
    expected = [stats.entropy(run, [1 / 5] * 5) for run in importance.numpy()]
    assert kl_to_uniform(log_probs).tolist() == pytest.approx(expected, abs=1e-12)


def test_importance_keeps_what_probabilities_lose():
    log_probs = torch.tensor([[[0.0, 0.0], [-900.0, -900.0]]], dtype=torch.float64)
    assert log_importance(log_probs)[0].tolist() == pytest.approx([0.0, -900.0])


@given(st.integers(1, 12), st.integers(1, 60), st.floats(0, 50), st.integers(0, 10**6))
def test_kl_lies_between_zero_and_ln_k(experts, batch, scale, seed):
    value = kl_to_uniform(gates(1, experts, batch, scale, seed)).item()
    assert -1e-12 <= value <= math.log(experts) + 1e-12


def test_a_collapsed_gate_costs_ln_k():
    log_probs = torch.full((1, 10, 7), -1e4, dtype=torch.float64)
    log_probs[:, 3] = 0
    assert kl_to_uniform(log_probs).item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("name", sorted(BALANCINGS))
def test_sharing_equally_costs_nothing(name):
    one_hot = torch.eye(5, dtype=torch.float64).repeat(1, 8)[None]
    for log_probs in (one_hot.clamp_min(1e-300).log(), torch.zeros(1, 5, 8).double().log_softmax(1)):
        assert BALANCINGS[name](log_probs).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("experts", "batch"), [(5, 40), (10, 100), (3, 7)])
def test_variance_of_sum_is_a_cv_that_grows_with_the_batch(experts, batch):
    log_probs = gates(experts=experts, batch=batch)
    importance = log_probs.exp().mean(-1).numpy()
    expected = (batch / experts) ** 2 * stats.variation(importance, axis=-1) ** 2
    assert variance_of_sum(log_probs).tolist() == pytest.approx(expected.tolist())


def test_half_a_squared_cv_is_the_kl_near_balance():
    log_probs = gates(batch=2000, scale=0.5)
    cv = stats.variation(log_probs.exp().mean(-1).numpy(), axis=-1)
    assert kl_to_uniform(log_probs).tolist() == pytest.approx((cv**2 / 2).tolist(), rel=0.05)


@pytest.mark.parametrize("name", sorted(BALANCINGS))
def test_names_of_experts_do_not_matter_and_runs_do_not_meet(name):
    log_probs = gates()
    loss = BALANCINGS[name](log_probs)
    torch.testing.assert_close(BALANCINGS[name](log_probs[:, [2, 0, 4, 3, 1]]), loss)
    alone = torch.cat([BALANCINGS[name](run[None]) for run in log_probs])
    torch.testing.assert_close(alone, loss)


def test_none_is_nothing():
    assert none(gates()).tolist() == [0.0, 0.0, 0.0]
