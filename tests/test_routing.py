"""Routing: soft weighs, hard chooses going forward and is soft going back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import normal

from moevae.routing import ROUTINGS, hard, soft


@given(st.integers(1, 9), st.floats(0, 200), st.integers(0, 10**6), st.sampled_from(sorted(ROUTINGS)))
def test_weights_are_shares(experts, scale, seed, kind):
    log_probs = (scale * normal(2, experts, 6, seed=seed)).log_softmax(1)
    weights = ROUTINGS[kind](log_probs)
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
