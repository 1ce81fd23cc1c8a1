"""Linear maps of rows that are sorted by group; each group has its own weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from moevae.utils.devices import to_device

_FULL = 64  # rows
LARGE = 1 << 16
"""Elements of a matrix; a larger one is hardly in the cache when its turn comes."""

WeightUpdate = Callable[[int, Tensor], None]
"""A function of the index of a group and the gradient of its weights, [I, O], which may change them."""


def grouped_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    ends: Sequence[int],
    update: Callable[[], WeightUpdate | None] | None = None,
) -> Tensor:
    """Return x @ weight[g] + bias[g] for the rows of each group g = (run, expert).

    Args:
        x: rows sorted by group, converted to the data type of the weights, [T, I].
        weight: weights of each group; the expert is the faster index of g, [R, K, I, O].
        bias: biases of each group, [R, K, O].
        ends: row at which each group ends, R K ascending numbers; the last is T.
        update: called in the backward pass on a CPU. What it returns then takes the gradients of the weights,
            which get none themselves; with None, the weights get their gradient.

    Returns:
        Rows, [T, O].
    """
    x = x.to(weight.dtype)
    if x.device.type == "cpu":
        return cast(Tensor, _GroupedLinear.apply(x, weight, bias, tuple(ends), update))
    return padded_linear(x, weight, bias, ends)


def padded_linear(x: Tensor, weight: Tensor, bias: Tensor, ends: Sequence[int]) -> Tensor:
    """Return the same as `grouped_linear`, by one batched product of groups padded to the largest.

    This is faster on a GPU, where one kernel per group would take longer to launch than to run.

    Args:
        x: rows sorted by group, in the data type of the weights, [T, I].
        weight: weights of each group, [R, K, I, O].
        bias: biases of each group, [R, K, O].
        ends: row at which each group ends, R K ascending numbers; the last is T.

    Returns:
        Rows, [T, O].
    """
    starts = to_device([0, *ends], x.device)
    counts, largest = starts.diff(), max(end - start for start, end in itertools.pairwise([0, *ends]))
    groups = torch.arange(len(ends), device=x.device).repeat_interleave(counts, output_size=len(x))
    places = torch.arange(len(x), device=x.device) + (groups * largest - starts[groups])  # [T]
    filled = x.new_zeros(len(ends) * largest, x.shape[1]).index_copy(0, places, x)
    product = torch.baddbmm(
        bias.flatten(0, 1).unsqueeze(1), filled.view(len(ends), largest, -1), weight.flatten(0, 1)
    )
    return product.flatten(0, 1)[places]


class _GroupedLinear(torch.autograd.Function):
    """One product per group, written in place; autograd would allocate a full gradient per indexed weight."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, ends: tuple[int, ...], update: Any
    ) -> Tensor:
        ctx.own = [end - start for start, end in itertools.pairwise([0, *ends])]
        ctx.counts = _padded(ctx.own) if x.dtype == torch.bfloat16 else ctx.own
        ctx.update = update
        x = _spread(x, ctx.own, ctx.counts)
        ctx.save_for_backward(x, weight)
        result = x.new_empty(len(x), weight.shape[-1])
        parts = x.split(ctx.counts), _each(weight), _each(bias), result.split(ctx.counts)
        for rows, own, shift, place in zip(*parts, strict=True):
            torch.addmm(shift, rows, _cached(own), out=place)
        return _gathered(result, ctx.own, ctx.counts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        update = ctx.update() if ctx.update else None
        slopes = _spread(gradient, ctx.own, ctx.counts).split(ctx.counts)
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        to_weight = torch.empty_like(weight) if update is None else None  # with the strides of the weight
        to_bias = weight.new_empty(*weight.shape[:2], weight.shape[-1])
        weights, places = _each(weight), to_x.split(ctx.counts) if to_x is not None else slopes
        kept = _each(to_weight) if to_weight is not None else [torch.empty_like(weights[0])] * len(weights)
        parts = x.T.split(ctx.counts, 1), slopes, weights, places, kept, _each(to_bias)
        for group, (rows, slope, own, place, to_own, shift) in enumerate(zip(*parts, strict=True)):
            if to_x is not None:
                torch.mm(slope, _cached(own).mT, out=place)
            torch.mm(rows, slope, out=to_own)
            torch.sum(slope, 0, out=shift)
            if update is not None:
                update(group, to_own)
        if to_x is not None:
            to_x = _gathered(to_x, ctx.own, ctx.counts)
        return to_x, to_weight, to_bias, None, None


def _cached(weight: Tensor) -> Tensor:
    """Return a matrix after reading it in order, which loads it into the cache of the core.

    A product reads a matrix in strips; with few rows, it would mostly wait for the memory. In bfloat16, the
    sum takes longer than that.
    """
    if weight.dtype == torch.float32 and weight.numel() >= LARGE:
        weight.sum()
    return weight


def _each(values: Tensor) -> list[Tensor]:
    """Return a view of the part of each group; values [R, K, ...]."""
    return [part for run in values.unbind() for part in run.unbind()]


def _padded(counts: Sequence[int]) -> list[int]:
    """Return multiples of `_FULL`: in bfloat16, each new number of rows would compile a new kernel."""
    return [math.ceil(count / _FULL) * _FULL for count in counts]


def _spread(rows: Tensor, own: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Return the rows of groups, each padded with zeros from its own number of rows to another."""
    if own == counts:
        return rows
    filled = rows.new_empty(sum(counts), rows.shape[1])
    for part, place, count in zip(rows.split(own), filled.split(counts), own, strict=True):
        place[:count] = part
        place[count:] = 0
    return filled


def _gathered(rows: Tensor, own: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Return the rows of groups without their padding."""
    if own == counts:
        return rows
    return torch.cat([part[:count] for part, count in zip(rows.split(counts), own, strict=True)])
