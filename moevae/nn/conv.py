"""Convolutions stacked over runs and experts that halve or double the size of a feature map.

A feature map is stored as a row, [..., H W channels], with the channels last. h and w are half of H and W,
rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from moevae.nn.grouped_convolution import grouped_convolution
from moevae.nn.grouped_linear import padded_linear
from moevae.nn.linear import Affine, StackedLinear

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

    They are linear maps of patches, whose products a gate can normalize before the bias.

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

    The kernels have the shape [*batch, I, 9 O]. A position of the input and its neighbors to the right and
    below determine four pixels of the output, so that one convolution computes them as channels.

    Args:
        batch: axes of the stack, (R,) or (R, K).
        size: H and W of the output.
        inputs: I, input channels.
        outputs: O, output channels.

    References:
        Shi et al. (2016), real-time single image and video super-resolution using an efficient sub-pixel
        convolutional neural network.
    """

    taps: Tensor

    def __init__(self, batch: Sequence[int], size: tuple[int, int], inputs: int, outputs: int) -> None:
        super().__init__(batch, (inputs, TAPS * outputs), outputs, TAPS * (inputs + outputs))
        self.size, self.inputs, self.outputs = size, inputs, outputs
        self.register_buffer("taps", torch.tensor(_SUB_PIXELS).flatten(), persistent=False)

    def forward(self, x: Tensor, normalize: None = None) -> Tensor:
        """Return the convolved feature maps.

        Args:
            x: feature maps, [*batch, B, h w I].
            normalize: not supported; None.

        Returns:
            Feature maps, [*batch, B, H W O].
        """
        rows, count = x.shape[-2], math.prod(self.batch)
        ends = [rows * group for group in range(1, 1 + count)]
        return self.sparse(x.flatten(0, -2), ends).view(*self.batch, rows, -1)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the convolved feature maps of rows that are sorted by run and expert.

        Args:
            x: feature maps, [T, h w I].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Feature maps, [T, H W O].
        """
        height, width = halved(self.size)
        weight = self.weight.flatten(0, -3).unflatten(-1, (TAPS, self.outputs))  # [R K, I, 9, O]
        by_pixel = functional.pad(weight, (0, 0, 0, 1)).index_select(2, self.taps).unflatten(2, (2, 2, 4))
        kernels = by_pixel.permute(0, 4, 5, 1, 2, 3).flatten(1, 2)  # [R K, 4 O, I, 2, 2]
        biases = self.bias.flatten(0, -2).repeat(1, 4)
        if x.device.type == "cpu":
            parts = kernels.unbind(), biases.unbind()
            found = grouped_convolution(x, (height, width), *parts, ends, (0, 1, 0, 1))
        else:
            found = self._by_products(x, kernels, biases, ends)
        pixels = found.view(-1, height, width, 2, 2, self.outputs).transpose(2, 3)
        pictures = pixels.reshape(-1, 2 * height, 2 * width, self.outputs)
        return pictures[:, : self.size[0], : self.size[1]].flatten(1)

    def _by_products(self, x: Tensor, kernels: Tensor, biases: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the same as the grouped convolution, by one batched product, for a GPU; [T h w, 4 O]."""
        height, width = halved(self.size)
        maps = functional.pad(x.to(kernels.dtype).reshape(-1, height, width, self.inputs), (0, 0, 0, 1, 0, 1))
        corners = [maps[:, down:, right:][:, :height, :width] for down in (0, 1) for right in (0, 1)]
        matrices = kernels.permute(0, 3, 4, 2, 1).flatten(1, 3)  # [R K, 4 I, 4 O]
        patches = torch.cat(corners, -1).flatten(0, 2)
        area = height * width
        return padded_linear(patches, matrices[None], biases[None], [end * area for end in ends])


_NONE = TAPS
_SUB_PIXELS = [
    [[4, 5, 7, 8], [_NONE, 3, _NONE, 6]],
    [[_NONE, _NONE, 1, 2], [_NONE, _NONE, _NONE, 0]],
]
"""Tap of a kernel by the row and the column of the input, and by the pixel of the output; `_NONE` is zero."""


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
