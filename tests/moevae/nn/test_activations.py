"""Activations against the modules of torch, in value and gradient."""

import plain
import pytest
import torch

from moevae.config.registry import ACTIVATIONS


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_values_and_gradients(name):
    x = torch.linspace(-90, 90, 1001, dtype=torch.float64)
    found, expected = (each.clone().requires_grad_() for each in (x, x))
    ours, theirs = ACTIVATIONS[name](found), plain.ACTIVATIONS[name]()(expected)
    torch.testing.assert_close(ours, theirs)
    weights = torch.linspace(-1, 1, len(x), dtype=torch.float64)
    ours.backward(weights)
    theirs.backward(weights)
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_silu_rounds_alike_at_every_position(kind):
    x = torch.randn(2**12 + 3, generator=torch.Generator().manual_seed(0)).to(kind)
    whole, parts = x.clone().requires_grad_(), [each.clone().requires_grad_() for each in x.split(1)]
    silu = ACTIVATIONS["silu"]
    found, expected = silu(whole), torch.cat([silu(each) for each in parts])
    assert torch.equal(found, expected)
    found.sum().backward()
    expected.sum().backward()
    assert torch.equal(whole.grad, torch.cat([each.grad for each in parts]))
