"""Linear maps of rows that are sorted by group; each group has its own weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from moevae.utils.devices import to_device

_FULL = 64  # rows


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor, ends: Sequence[int]) -> Tensor:
    """Return x @ weight[g] + bias[g] for the rows of each group g = (run, expert).

    Args:
        x: rows sorted by group, converted to the data type of the weights, [T, I].
        weight: weights of each group; the expert is the faster index of g, [R, K, I, O].
        bias: biases of each group, [R, K, O].
        ends: row at which each group ends, R K ascending numbers; the last is T.

    Returns:
        Rows, [T, O].
    """
    x = x.to(weight.dtype)
    if x.device.type == "cpu":
        return cast(Tensor, _GroupedLinear.apply(x, weight, bias, tuple(ends)))
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
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, ends: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.ends = ends
        result = x.new_empty(len(x), weight.shape[-1])
        for group, rows in _groups(weight, ends):
            _put(result, rows, torch.addmm, bias[group], _rows(x, rows), weight[group])
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        to_weight = torch.empty_like(weight)  # with the strides of the weight, to avoid a copy
        to_bias = weight.new_empty(*weight.shape[:2], weight.shape[-1])
        for group, rows in _groups(weight, ctx.ends):
            slope = _rows(gradient, rows)
            torch.mm(_rows(x, rows).T, slope, out=to_weight[group])
            torch.sum(slope, 0, out=to_bias[group])
            if to_x is not None:
                _put(to_x, rows, torch.mm, slope, weight[group].T)
        return to_x, to_weight, to_bias, None


def _rows(x: Tensor, rows: slice) -> Tensor:
    """Return the rows of a group, padded with zeros if each new number of rows would compile a new kernel."""
    if not _filled_up(x):
        return x[rows]
    count = rows.stop - rows.start
    filled = x.new_zeros(math.ceil(count / _FULL) * _FULL, x.shape[1])
    filled[:count] = x[rows]
    return filled


def _put(result: Tensor, rows: slice, product: Callable[..., Tensor], *factors: Tensor) -> None:
    """Write the product of a group to its rows, without a copy if the rows are not padded."""
    if _filled_up(result):
        result[rows] = product(*factors)[: rows.stop - rows.start]
    else:
        product(*factors, out=result[rows])


def _filled_up(x: Tensor) -> bool:
    """Return whether rows are padded: bfloat16 on a CPU."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _groups(weight: Tensor, ends: Sequence[int]) -> Iterator[tuple[tuple[int, int], slice]]:
    """Yield each group (run, expert) and its rows."""
    places = itertools.product(range(weight.shape[0]), range(weight.shape[1]))
    for group, (start, end) in zip(places, itertools.pairwise([0, *ends]), strict=True):
        yield group, slice(start, end)
