"""The laws of each kind hold for every entry of its registry; the checks refuse functions that break them."""

import functools

import pytest
import torch

from moevae.config.registry import BALANCINGS, BIAS_UPDATES, CONSISTENCY_TERMS, ROUTINGS
from moevae.objectives.checks import (
    check_bias_update,
    check_consistency,
    check_load_balancing,
    check_routing,
)
from moevae.objectives.routing import top_k


@pytest.mark.parametrize("name", ROUTINGS)
def test_routings(name):
    check_routing(ROUTINGS[name])


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_routing_to_the_largest(k, noise):
    check_routing(functools.partial(top_k, k=k, noise=noise))


@pytest.mark.parametrize("name", BALANCINGS)
def test_balancing_losses(name):
    check_load_balancing(BALANCINGS[name])


@pytest.mark.parametrize("name", BIAS_UPDATES)
def test_bias_moves(name):
    check_bias_update(BIAS_UPDATES[name])


@pytest.mark.parametrize("name", CONSISTENCY_TERMS)
def test_consistency_terms(name):
    check_consistency(CONSISTENCY_TERMS[name])


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (lambda log_probs, uniform: log_probs.exp().mean(-1), "the shape is"),
        (lambda log_probs, uniform: 2 * log_probs.exp(), "sum to one"),
        (lambda log_probs, uniform: 2 * log_probs.softmax(1) - 1 / 5, "not negative"),
        (lambda log_probs, uniform: log_probs.exp().cumsum(1).softmax(1), "permut"),
        (lambda log_probs, uniform: log_probs.exp().mean(0, True).expand_as(log_probs), "other runs"),
        (lambda log_probs, uniform: log_probs.exp() + 0 * log_probs.exp().log(), "values are finite"),
        (lambda log_probs, uniform: log_probs.exp() + 0 * log_probs.exp().sqrt(), "gradient is finite"),
    ],
)
def test_a_routing_that_breaks_a_law(broken, law):
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"):
        check_routing(broken)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (lambda log_probs, log_prior: log_probs.mean(), "the shape is"),
        (lambda log_probs, log_prior: log_probs[:, 0].exp().mean(-1), "permut"),
        (lambda log_probs, log_prior: log_probs.exp().mean(-1).var().expand(len(log_prior)), "other runs"),
        (lambda log_probs, log_prior: log_probs.exp().mean(-1).log().sum(-1), "finite"),
        (lambda log_probs, log_prior: log_probs.exp().mean(-1).sqrt().sum(-1), "gradient is finite"),
    ],
)
def test_a_balancing_loss_that_breaks_a_law(broken, law):
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"):
        check_load_balancing(broken)


def test_a_bias_move_that_breaks_a_law():
    with pytest.raises(AssertionError, match="no gradient"):
        check_bias_update(lambda log_probs, log_prior: log_prior.exp() - log_probs.exp().mean(-1))
    with pytest.raises(AssertionError, match="permut"):
        check_bias_update(lambda log_probs, log_prior: torch.arange(5.0).expand(len(log_prior), 5))


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (lambda around: around.log_probs.exp().mean(1).mean(-1), "the shape is"),
        (lambda around: around.log_probs[:, 1].exp(), "permut"),
        (lambda around: around.log_probs.exp().log().sum(1), "finite"),
        (lambda around: around.log_probs.exp().sqrt().sum(1), "gradient is finite"),
    ],
)
def test_a_consistency_term_that_breaks_a_law(broken, law):
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"):
        check_consistency(broken)
