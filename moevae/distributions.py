"""Log-densities and divergences, in nats, summed over the last axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FACTORS = 112  # each at least 1/2: their product exceeds the smallest normal float32
_FAR = 80  # softplus(l) equals l even in float64, and exp(l) is still finite in float32
_BLOCK = 3 << 15  # elements; the last bit of a gradient depends on it
_BLOCK_OF_VALUES = 1 << 18  # elements, without gradients: calls take less time than with smaller blocks


def bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """Return the log-probability of pixels under independent Bernoulli distributions.

    The sums are computed in float32 or wider; the gradient has the data type of the logits.

    Args:
        logits: logits of the pixels, with at most four axes, [..., D].
        x: pixels in [0, 1], which get no gradient; they broadcast with the logits, [..., D].

    Returns:
        log Bernoulli(x; sigmoid(logits)), [...].

    Raises:
        ValueError: x requires a gradient.
    """
    images = x.expand(logits.shape)
    added = (None,) * (4 - logits.ndim)
    return cast(Tensor, _Bernoulli.apply(logits[added], images[added])).view(logits.shape[:-1])


def bernoulli_log_prob_alone(logits: Tensor, x: Tensor) -> Tensor:
    """Return `bernoulli_log_prob` with a rounding that does not depend on the position in the tensors.

    torch computes the last few elements of a tensor, and of the share of each thread, by other code. Its
    results for `sigmoid`, `softplus` and `logit` then differ in the last bit; those of `exp`, `log`, `log1p`
    and `tanh` do not.

    Args:
        logits: logits of the pixels, [..., D].
        x: pixels in [0, 1]; they broadcast with the logits, [..., D].
    """
    logit = at_least_float32(logits)
    missed = logit.abs().neg_().exp_().log1p_().add_(logit.clamp_min(0))
    return -missed.addcmul_(x.to(logit.dtype), logit, value=-1).sum(-1)


def sigmoid_alone(logits: Tensor) -> Tensor:
    """Return the sigmoid, with a rounding that does not depend on the position in the tensor."""
    return 0.5 + 0.5 * torch.tanh(0.5 * logits)


def logit_alone(x: Tensor) -> Tensor:
    """Return the logit, with a rounding that does not depend on the position in the tensor."""
    return x.log() - torch.log1p(-x)


class _Bernoulli(torch.autograd.Function):
    """Sum of x l - softplus(l) over pixels, with softplus(l) = relu(l) - log max(s, 1 - s), s = sigmoid(l).

    Only the gradient, x - s, is saved for the backward pass.
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
    """Return the sums and, if requested, x - s, with few passes over memory, which limits a GPU."""
    logit = at_least_float32(logits)
    target = x.to(logit.dtype)
    missed = functional.softplus(logit, threshold=_FAR).addcmul_(target, logit, value=-1).sum(-1)
    return -missed, (target - logit.sigmoid()).to(logits.dtype) if with_slope else None


def _in_blocks(logits: Tensor, x: Tensor, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """Return the same as `_at_once`, computed in blocks of rows that stay in the cache of a core.

    Each maximum is at least 1/2, so that the logarithm of a product of 112 of them can be taken at once.
    """
    *outer, pixels = logits.shape
    exact = at_least_float32(logits).dtype
    result = logits.new_empty(outer, dtype=exact)
    slope = torch.empty_like(logits) if with_slope else None
    in_place = slope is not None and slope.dtype == exact
    block = _block(outer, (_BLOCK if with_slope else _BLOCK_OF_VALUES) // pixels)
    group = min(pixels, _FACTORS)
    shares = logits.new_empty(0 if in_place else math.prod(block) * pixels, dtype=exact)
    # The last product is padded with ones.
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


def _block(shape: Sequence[int], rows: int) -> list[int]:
    """Return the size of a block of rows along each axis; it covers the last axes first."""
    block, left = [], max(1, rows)
    for size in reversed(shape):
        block.append(max(1, min(size, left)))
        left = left // size if size <= left else 1
    return block[::-1]


def _blocks(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the indices of all blocks."""
    starts = [range(0, size, step) for size, step in zip(shape, block, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + step) for start, step in zip(corner, block, strict=True))


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor, converted to float32 if its data type is narrower.

    Args:
        x: the tensor, [...].
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gaussian_log_prob(mean: Tensor, x: Tensor, std: float | Tensor) -> Tensor:
    """Return the log-density of pixels under a Gaussian distribution, including the normalizing constant.

    Args:
        mean: means of the pixels, [..., D].
        x: pixels, [..., D].
        std: standard deviation, a number or a tensor that broadcasts with [...].

    Returns:
        log N(x; mean, std^2 I), [...].
    """
    if isinstance(std, Tensor):
        normalizer = mean.shape[-1] * (std.log() + 0.5 * math.log(2 * math.pi))
        return -0.5 * (x - mean).square().sum(-1) / std.square() - normalizer
    constant = mean.shape[-1] * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return -0.5 * ((x - mean) / std).square().sum(-1) - constant


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL divergence of a diagonal Gaussian distribution from the standard normal distribution.

    Args:
        mu: means, [..., Z].
        logvar: log-variances, [..., Z].

    Returns:
        KL(N(mu, exp(logvar)) || N(0, I)), [...].
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)


def kl_categorical(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return the KL divergence of two categorical distributions.

    Args:
        log_q: log-probabilities of q; minus infinity is allowed, [..., K].
        log_p: log-probabilities of p, [..., K].

    Returns:
        KL(q || p), [...].
    """
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0).sum(-1)
