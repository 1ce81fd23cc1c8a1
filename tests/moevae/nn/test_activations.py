"""Activations against those of torch, in value and gradient."""

import pytest
import torch
from torch.nn import functional

from moevae.config.registry import ACTIVATIONS

TORCH = {
    "relu": functional.relu,
    "leaky-relu": functional.leaky_relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_values_and_gradients(name):
    x = torch.linspace(-90, 90, 1001, dtype=torch.float64)
    found, expected = (each.clone().requires_grad_() for each in (x, x))
    ours, theirs = ACTIVATIONS[name](found), TORCH[name](expected)
    torch.testing.assert_close(ours, theirs)
    weights = torch.linspace(-1, 1, len(x), dtype=torch.float64)
    ours.backward(weights)
    theirs.backward(weights)
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("name", ["silu", "tanh"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_rounding_is_the_same_at_every_position(name, kind):
    x = torch.randn(259, generator=torch.Generator().manual_seed(0)).to(kind)
    alone = torch.cat([ACTIVATIONS[name](each) for each in x.split(1)])
    assert torch.equal(ACTIVATIONS[name](x), alone)
