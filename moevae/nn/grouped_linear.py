"""Linear maps of rows sorted by group: each group's rows meet that group's weights alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from moevae.utils.devices import sent

_FULL = 64  # rows


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor, ends: Sequence[int]) -> Tensor:
    """Return x @ weight[g] + bias[g] for the rows of each group g, [T, O].

    Args:
        x: rows sorted by group, [T, I], taken in the weights' type.
        weight: of each group, [R, K, I, O]; group g = (run, expert) counts experts first.
        bias: [R, K, O].
        ends: where each group's rows end, R K numbers that rise to T.
    """
    x = x.to(weight.dtype)
    if x.device.type == "cpu":
        return cast(Tensor, _GroupedLinear.apply(x, weight, bias, tuple(ends)))
    return padded_linear(x, weight, bias, ends)


def padded_linear(x: Tensor, weight: Tensor, bias: Tensor, ends: Sequence[int]) -> Tensor:
    """Return what `grouped_linear` does, by one product of all groups, each filled up to the largest.

    A GPU is faster so: a kernel for each group would take longer to launch than to run.
    """
    starts = sent([0, *ends], x.device)
    counts, largest = starts.diff(), max(end - start for start, end in itertools.pairwise([0, *ends]))
    groups = torch.arange(len(ends), device=x.device).repeat_interleave(counts, output_size=len(x))
    places = torch.arange(len(x), device=x.device) + (groups * largest - starts[groups])  # [T]
    filled = x.new_zeros(len(ends) * largest, x.shape[1]).index_copy(0, places, x)
    product = torch.baddbmm(
        bias.flatten(0, 1).unsqueeze(1), filled.view(len(ends), largest, -1), weight.flatten(0, 1)
    )
    return product.flatten(0, 1)[places]


class _GroupedLinear(torch.autograd.Function):
    """A product a group, written in its place: indexing weights in autograd would allocate all gradients."""

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
        to_weight = torch.empty_like(weight)  # strided as the weight is, so that no copy follows
        to_bias = weight.new_empty(*weight.shape[:2], weight.shape[-1])
        for group, rows in _groups(weight, ctx.ends):
            slope = _rows(gradient, rows)
            torch.mm(_rows(x, rows).T, slope, out=to_weight[group])
            torch.sum(slope, 0, out=to_bias[group])
            if to_x is not None:
                _put(to_x, rows, torch.mm, slope, weight[group].T)
        return to_x, to_weight, to_bias, None


def _rows(x: Tensor, rows: slice) -> Tensor:
    """Return a group's rows, filled up with zeros where each new number of rows would be a new kernel."""
    if not _filled_up(x):
        return x[rows]
    count = rows.stop - rows.start
    filled = x.new_zeros(math.ceil(count / _FULL) * _FULL, x.shape[1])
    filled[:count] = x[rows]
    return filled


def _put(result: Tensor, rows: slice, product: Callable[..., Tensor], *factors: Tensor) -> None:
    """Write a group's product to its rows, without a copy where nothing was filled up."""
    if _filled_up(result):
        result[rows] = product(*factors)[: rows.stop - rows.start]
    else:
        product(*factors, out=result[rows])


def _filled_up(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _groups(weight: Tensor, ends: Sequence[int]) -> Iterator[tuple[tuple[int, int], slice]]:
    places = itertools.product(range(weight.shape[0]), range(weight.shape[1]))
    for group, (start, end) in zip(places, itertools.pairwise([0, *ends]), strict=True):
        yield group, slice(start, end)
