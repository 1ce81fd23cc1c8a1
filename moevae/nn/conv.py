"""Convolutions stacked over runs and experts: linear maps of patches, so that they inherit all laws of those.

Pictures stand in rows, [..., H W C], channels last. torch's grouped convolution is a quarter faster on a CPU,
but rounds gradients by the number of runs, and knows no sparse rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moevae.nn.grouped_linear import grouped_linear
from moevae.nn.linear import Affine, StackedLinear
from moevae.utils.devices import sent

TAPS = 9
"""Of a kernel of 3 x 3; its stride is 2, with a border of one zero."""


def halved(size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that a convolution leaves, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


class Convolution(StackedLinear):
    """Convolutions that halve pictures of a size: x [*batch, B, H W C] -> [*batch, B, h w O]."""

    def __init__(
        self,
        batch: Sequence[int],
        size: tuple[int, int],
        inputs: int,
        outputs: int,
        fan_out: int | None = None,
    ) -> None:
        super().__init__(batch, TAPS * inputs, outputs, TAPS * (fan_out or outputs))
        self.size, self.area = size, math.prod(halved(size))

    def forward(self, x: Tensor, normalize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the next pictures; `normalize` sees each of their places as a row."""
        found = super().forward(self._patches(x), normalize)  # [*batch, B h w, O]
        return found.reshape(*self.batch, x.shape[-2], self.area * self.outputs)

    def sparse(self, x: Tensor, ends: Sequence[int], experts: int | None = None) -> Tensor:
        """Return the next pictures of rows sorted by run and expert, [T, h w O]; x [T, H W C]."""
        found = super().sparse(self._patches(x), [end * self.area for end in ends], experts)
        return found.reshape(len(x), self.area * found.shape[-1])

    def _patches(self, x: Tensor) -> Tensor:
        """Return what the kernel sees at each place, [..., B h w, 9 C]; x [..., B, H W C]."""
        *outer, rows, _ = x.shape
        pictures = x.to(self.weight.dtype).reshape(-1, *self.size, self.inputs // TAPS)
        return cast(Tensor, _Gather.apply(pictures)).view(*outer, rows * self.area, self.inputs)


class Transposed(Affine):
    """Transposed convolutions that double pictures to a size: x [*batch, B, h w C] -> [*batch, B, H W O].

    The kernels are [*batch, C, 9 O].
    """

    def __init__(self, batch: Sequence[int], size: tuple[int, int], inputs: int, outputs: int) -> None:
        super().__init__(batch, (inputs, TAPS * outputs), outputs, TAPS * (inputs + outputs))
        self.size, self.inputs, self.outputs = size, inputs, outputs

    def forward(self, x: Tensor, normalize: None = None) -> Tensor:
        """Return the next pictures."""
        weight = self.weight.flatten(0, -3)
        patches = self._places(x).to(weight.dtype).view(len(weight), -1, self.inputs) @ weight
        pictures = self._pictures(patches).view(*self.batch, -1, self.outputs)  # [*batch, B H W, O]
        return (pictures + self.bias.unsqueeze(-2)).view(*self.batch, x.shape[-2], -1)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the next pictures of rows sorted by run and expert, [T, H W O]; x [T, h w C]."""
        weight, area = self.weight, math.prod(halved(self.size))
        none = weight.new_zeros(*self.batch, TAPS * self.outputs)
        patches = grouped_linear(self._places(x), weight, none, [end * area for end in ends])
        counts = sent([0, *ends], x.device).diff()
        bias = self.bias.flatten(0, -2).repeat_interleave(counts, 0, output_size=len(x))  # [T, O]
        return (self._pictures(patches).view(len(x), -1, self.outputs) + bias.unsqueeze(1)).flatten(1)

    def _places(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.inputs)

    def _pictures(self, patches: Tensor) -> Tensor:
        """Return the sum of patches laid over one another, [N, H, W, O]; patches [..., 9 O]."""
        return cast(
            Tensor, _Scatter.apply(patches.view(-1, *halved(self.size), TAPS, self.outputs), self.size)
        )


class _Gather(torch.autograd.Function):
    """Patches of pictures."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor) -> Tensor:
        ctx.size = pictures.shape[1], pictures.shape[2]
        return _gather(pictures)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _scatter(gradient, ctx.size)


class _Scatter(torch.autograd.Function):
    """Pictures of patches: what `_Gather` is transposed."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, size: tuple[int, int]) -> Tensor:
        return _scatter(patches, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _gather(gradient), None


def _gather(pictures: Tensor) -> Tensor:
    """Return the patch around each second pixel, [N, h, w, 9, C]; pictures [N, H, W, C]."""
    count, height, width, channels = pictures.shape
    patches = pictures.new_zeros(count, *halved((height, width)), TAPS, channels)
    for tap, ((rows, down), (columns, right)) in enumerate(product(_taps(height), _taps(width))):
        patches[:, rows, columns, tap] = pictures[:, down, right]
    return patches


def _scatter(patches: Tensor, size: tuple[int, int]) -> Tensor:
    """Return patches added up where they came from, [N, H, W, C]; patches [N, h, w, 9, C]."""
    pictures = patches.new_zeros(len(patches), *size, patches.shape[-1])
    for tap, ((rows, down), (columns, right)) in enumerate(product(_taps(size[0]), _taps(size[1]))):
        pictures[:, down, right] += patches[:, rows, columns, tap]
    return pictures


def _taps(side: int) -> Iterator[tuple[slice, slice]]:
    """Yield the places whose kernel has its first (second, third) tap inside, and the pixels these meet."""
    for offset in (-1, 0, 1):
        first, last = int(offset < 0), min((side - 1) // 2, (side - 1 - offset) // 2)
        yield slice(first, last + 1), slice(2 * first + offset, 2 * last + offset + 1, 2)
