"""Log-densities and divergences in nats, summed over the last axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FACTORS = 112  # of at least a half each: their product is above the smallest normal float32
_FAR = 80  # where softplus(l) is l in float64 as well, and exp(l) still a float32
_BLOCK = 3 << 15  # elements: a handful of such blocks fit into a core's own cache


def bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """Return log Bernoulli(x; sigmoid(logits)), [...]; both [..., D], of at most four axes, x in [0, 1].

    There is no gradient for x. The sums are taken in float32 or finer; the gradient has the logits' type.
    """
    images = x.expand(logits.shape)
    added = (None,) * (4 - logits.ndim)
    return cast(Tensor, _Bernoulli.apply(logits[added], images[added])).view(logits.shape[:-1])


class _Bernoulli(torch.autograd.Function):
    """Sum of x l - softplus(l) over pixels, with softplus(l) = relu(l) - log max(s, 1 - s), s = sigmoid(l).

    The gradient, x - s, is all that is kept.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        if x.requires_grad:
            raise ValueError("bernoulli_log_prob has no gradient for x")
        by_device = _in_blocks if logits.device.type == "cpu" else _at_once
        result, slope = by_device(logits, x, ctx.needs_input_grad[0])
        ctx.save_for_backward(slope)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradient.to(slope.dtype).unsqueeze(-1), None


def _at_once(logits: Tensor, x: Tensor, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Return the sums and, where asked for, x - s, with few looks at memory, which is what binds a GPU."""
    logit = at_least_float32(logits)
    target = x.to(logit.dtype)
    missed = functional.softplus(logit, threshold=_FAR).addcmul_(target, logit, value=-1).sum(-1)
    return -missed, (target - logit.sigmoid()).to(logits.dtype) if with_slope else None


def _in_blocks(logits: Tensor, x: Tensor, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Return the same, by blocks of rows that go through all of it while they are in a core's cache.

    The maximum is at least a half, so 112 of them are multiplied before one logarithm is taken.
    """
    *outer, pixels = logits.shape
    exact = at_least_float32(logits).dtype
    result = logits.new_empty(outer, dtype=exact)
    slope = torch.empty_like(logits) if with_slope else None
    in_place = slope is not None and slope.dtype == exact
    block = _block(outer, pixels)
    group = min(pixels, _FACTORS)
    shares = logits.new_empty(0 if in_place else math.prod(block) * pixels, dtype=exact)
    # What fills up the last product is one.
    factors = logits.new_ones(math.prod(block), math.ceil(pixels / group) * group, dtype=exact)
    for here in _blocks(outer, block):
        logit, target = logits[here].to(exact), x[here].to(exact)
        lead = logit.shape[:-1]
        padded = factors[: lead.numel()].view(*lead, -1)
        work, products = padded[..., :pixels], padded.unflatten(-1, (-1, group))
        share = slope[here] if slope is not None and in_place else shares[: logit.numel()].view(logit.shape)
        torch.sigmoid(logit, out=share)
        torch.maximum(share, torch.sub(1, share, out=work), out=work)
        exponential = products.prod(-1).log_().sum(-1)
        linear = torch.clamp_min(logit, 0, out=work).addcmul_(target, logit, value=-1).sum(-1)
        torch.sub(exponential, linear, out=result[here])
        if slope is not None:
            torch.sub(target, share, out=slope[here])
    return result, slope


def _block(shape: Sequence[int], pixels: int) -> list[int]:
    """Return how much of each axis makes a block: whole last axes first."""
    block, left = [], max(1, _BLOCK // pixels)
    for size in reversed(shape):
        block.append(max(1, min(size, left)))
        left = left // size if size <= left else 1
    return block[::-1]


def _blocks(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    starts = [range(0, size, step) for size, step in zip(shape, block, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + step) for start, step in zip(corner, block, strict=True))


def at_least_float32(x: Tensor) -> Tensor:
    """Return the tensor in float32 where it is of a shorter type."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gaussian_log_prob(mean: Tensor, x: Tensor, std: float | Tensor) -> Tensor:
    """Return log N(x; mean, std^2 I), normalizing constant included, [...].

    Args:
        mean: [..., D].
        x: [..., D].
        std: one number, or one that broadcasts with [...].
    """
    if isinstance(std, Tensor):
        normalizer = mean.shape[-1] * (std.log() + 0.5 * math.log(2 * math.pi))
        return -0.5 * (x - mean).square().sum(-1) / std.square() - normalizer
    constant = mean.shape[-1] * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return -0.5 * ((x - mean) / std).square().sum(-1) - constant


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)), [...]; both arguments [..., Z]."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)


def kl_categorical(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(q || p) over the last axis, [...]; q may be one-hot (log_q of minus infinity)."""
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0).sum(-1)
