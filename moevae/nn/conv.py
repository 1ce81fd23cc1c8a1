"""Convolutions stacked over runs and experts, computed as linear maps of patches.

A feature map is stored as a row, [..., H W channels], with the channels last. h and w are half of H and W,
rounded up. The grouped convolution of torch is a quarter faster on a CPU, but the rounding of its gradients
depends on the number of runs, and it does not support sparse rows.
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
from moevae.utils.devices import to_device

TAPS = 9
"""Taps of a kernel: 3 x 3, with stride 2 and zero padding of 1."""

_FIRST = (8, 7, 5, 4)
"""Taps that reach every position of the input once: the last ones, on and after the center."""


def halved(size: tuple[int, int]) -> tuple[int, int]:
    """Return half of a height and a width, rounded up: the size of the output of a convolution.

    Args:
        size: height and width, in pixels.
    """
    return (size[0] + 1) // 2, (size[1] + 1) // 2


class Convolution(StackedLinear):
    """Convolutions that halve the size of a feature map: [*batch, B, H W I] -> [*batch, B, h w O].

    Args:
        batch: axes of the stack, (R,) or (R, K).
        size: H and W of the input.
        inputs: I, input channels.
        outputs: O, output channels.
        fan_out: output channels for the initialization; None means `outputs`.
    """

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
        """Return the convolved feature maps.

        Args:
            x: feature maps, [*batch, B, H W I].
            normalize: applied to the product before the bias, one row per output position.

        Returns:
            Feature maps, [*batch, B, h w O].
        """
        found = super().forward(self._patches(x), normalize)  # [*batch, B h w, O]
        return found.reshape(*self.batch, x.shape[-2], self.area * self.outputs)

    def sparse(self, x: Tensor, ends: Sequence[int], experts: int | None = None) -> Tensor:
        """Return the convolved feature maps of rows that are sorted by run and expert.

        Args:
            x: feature maps, [T, H W I].
            ends: row at which each group (run, expert) ends, R K numbers.
            experts: number of experts concatenated in the output; None if `batch` has an expert axis.

        Returns:
            Feature maps, [T, h w O].
        """
        found = super().sparse(self._patches(x), [end * self.area for end in ends], experts)
        return found.reshape(len(x), self.area * found.shape[-1])

    def _patches(self, x: Tensor) -> Tensor:
        """Return the patch of each output position, [..., B h w, 9 I]; x [..., B, H W I]."""
        *outer, rows, _ = x.shape
        pictures = x.to(self.weight.dtype).reshape(-1, *self.size, self.inputs // TAPS)
        return cast(Tensor, _Gather.apply(pictures)).view(*outer, rows * self.area, self.inputs)


class TransposedConvolution(Affine):
    """Transposed convolutions that double a feature map: [*batch, B, h w I] -> [*batch, B, H W O].

    The kernels have the shape [*batch, I, 9 O].

    Args:
        batch: axes of the stack, (R,) or (R, K).
        size: H and W of the output.
        inputs: I, input channels.
        outputs: O, output channels.
    """

    def __init__(self, batch: Sequence[int], size: tuple[int, int], inputs: int, outputs: int) -> None:
        super().__init__(batch, (inputs, TAPS * outputs), outputs, TAPS * (inputs + outputs))
        self.size, self.inputs, self.outputs = size, inputs, outputs

    def forward(self, x: Tensor, normalize: None = None) -> Tensor:
        """Return the convolved feature maps.

        Args:
            x: feature maps, [*batch, B, h w I].
            normalize: not supported; None.

        Returns:
            Feature maps, [*batch, B, H W O].
        """
        weight = self.weight.flatten(0, -3)
        patches = self._places(x).to(weight.dtype).view(len(weight), -1, self.inputs) @ weight
        pictures = self._pictures(patches).view(*self.batch, -1, self.outputs)  # [*batch, B H W, O]
        return (pictures + self.bias.unsqueeze(-2)).view(*self.batch, x.shape[-2], -1)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the convolved feature maps of rows that are sorted by run and expert.

        Args:
            x: feature maps, [T, h w I].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Feature maps, [T, H W O].
        """
        weight, area = self.weight, math.prod(halved(self.size))
        none = weight.new_zeros(*self.batch, TAPS * self.outputs)
        patches = grouped_linear(self._places(x), weight, none, [end * area for end in ends])
        counts = to_device([0, *ends], x.device).diff()
        bias = self.bias.flatten(0, -2).repeat_interleave(counts, 0, output_size=len(x))  # [T, O]
        return (self._pictures(patches).view(len(x), -1, self.outputs) + bias.unsqueeze(1)).flatten(1)

    def _places(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.inputs)

    def _pictures(self, patches: Tensor) -> Tensor:
        """Return the sum of overlapping patches, [N, H, W, O]; patches [..., 9 O]."""
        return cast(
            Tensor, _Scatter.apply(patches.view(-1, *halved(self.size), TAPS, self.outputs), self.size)
        )


class _Gather(torch.autograd.Function):
    """Extract the patches of feature maps."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor) -> Tensor:
        ctx.size = pictures.shape[1], pictures.shape[2]
        return _gather(pictures)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _scatter(gradient, ctx.size)


class _Scatter(torch.autograd.Function):
    """Add patches to feature maps, the transpose of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, size: tuple[int, int]) -> Tensor:
        return _scatter(patches, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _gather(gradient), None


def _gather(pictures: Tensor) -> Tensor:
    """Return the patch around every second pixel, [N, h, w, 9, C]; pictures: feature maps, [N, H, W, C]."""
    count, height, width, channels = pictures.shape
    patches = pictures.new_zeros(count, *halved((height, width)), TAPS, channels)
    for tap, ((rows, down), (columns, right)) in enumerate(product(_taps(height), _taps(width))):
        patches[:, rows, columns, tap] = pictures[:, down, right]
    return patches


def _scatter(patches: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the sum of the patches at their positions, [N, H, W, C]; patches [N, h, w, 9, C]."""
    pictures = patches.new_empty(len(patches), *size, patches.shape[-1])
    places = enumerate(product(_taps(size[0]), _taps(size[1])))
    for tap, ((rows, down), (columns, right)) in reversed([*places]):
        if tap in _FIRST:
            pictures[:, down, right] = patches[:, rows, columns, tap]
        else:
            pictures[:, down, right] += patches[:, rows, columns, tap]
    return pictures


def _taps(side: int) -> Iterator[tuple[slice, slice]]:
    """Yield, per tap along a side, the output positions at which it is inside, and its input positions."""
    for offset in (-1, 0, 1):
        first, last = int(offset < 0), min((side - 1) // 2, (side - 1 - offset) // 2)
        yield slice(first, last + 1), slice(2 * first + offset, 2 * last + offset + 1, 2)
