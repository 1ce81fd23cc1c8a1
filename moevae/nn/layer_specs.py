"""Specifications of layers: their sizes, their cost in compute and memory, and how to build them.

`values_in_memory` is an upper bound on the values that the forward pass keeps for one image at the same time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from moevae.config.schema import ModelConfig
from moevae.nn.conv import TAPS, Convolution, TransposedConvolution, halved
from moevae.nn.deformation import Deformation, latent_size
from moevae.nn.linear import StackedLinear
from moevae.nn.masked import MaskedConvolution, MaskedLinear, made_mask, preceding_taps

Size = tuple[int, int]
"""Height and width, in pixels."""


@dataclass(frozen=True)
class Dense:
    """A linear layer."""

    inputs: int
    outputs: int

    @property
    def products(self) -> int:
        """Multiplications per image."""
        return self.weights

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return self.inputs * self.outputs

    @property
    def values_in_memory(self) -> int:
        """Values in memory per image: the input, its copies by expert and activated, and the output."""
        return 3 * self.inputs + 2 * self.outputs

    def layer(self, batch: Sequence[int], copies: int = 1) -> StackedLinear:
        """Build the layer.

        Args:
            batch: axes of the stack, (R,) or (R, K).
            copies: number of layers that read the same input; their outputs are concatenated.
        """
        return StackedLinear(batch, self.inputs, copies * self.outputs, fan_out=self.outputs)


@dataclass(frozen=True)
class _Resampling:
    """A convolution between a feature map and one of half its size; `size` is that of the larger map."""

    size: Size
    inputs: int
    outputs: int

    @property
    def products(self) -> int:
        """Multiplications per image, including those with zero padding or outside the output."""
        return math.prod(halved(self.size)) * self.weights

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return TAPS * self.inputs * self.outputs


@dataclass(frozen=True)
class Down(_Resampling):
    """A convolution that halves the size of a feature map; `size` is that of its input."""

    @property
    def values_in_memory(self) -> int:
        """Values in memory per image, including the patches."""
        read = 3 * math.prod(self.size) * self.inputs
        return read + math.prod(halved(self.size)) * (TAPS * self.inputs + 2 * self.outputs)

    def layer(self, batch: Sequence[int], copies: int = 1) -> Convolution:
        """Build the layer.

        Args:
            batch: axes of the stack, (R,) or (R, K).
            copies: number of layers that read the same input; their output channels are concatenated.
        """
        return Convolution(batch, self.size, self.inputs, copies * self.outputs, fan_out=self.outputs)


@dataclass(frozen=True)
class Up(_Resampling):
    """A transposed convolution that doubles the size of a feature map; `size` is that of its output."""

    @property
    def values_in_memory(self) -> int:
        """Values in memory per image: the input, its padded copy, patches, and three copies of the output."""
        height, width = halved(self.size)
        read = (6 * height * width + (height + 1) * (width + 1)) * self.inputs
        return read + 3 * 4 * height * width * self.outputs

    def layer(self, batch: Sequence[int], copies: int = 1) -> TransposedConvolution:
        """Build the layer.

        Args:
            batch: axes of the stack, (R,) or (R, K).
            copies: must be 1.

        Raises:
            ValueError: `copies` is not 1; decoders never share an input.
        """
        _check_single("transposed convolution", copies)
        return TransposedConvolution(batch, self.size, self.inputs, self.outputs)


@dataclass(frozen=True)
class Warp:
    """A learned template that latents deform."""

    size: Size
    config: ModelConfig

    @property
    def inputs(self) -> int:
        """Number of latents, Z."""
        return latent_size(self.config)

    @property
    def outputs(self) -> int:
        """Number of pixels, D."""
        return math.prod(self.size)

    @property
    def products(self) -> int:
        """Multiplications per image: two coordinates per pixel and latent, and bilinear interpolation."""
        return self.outputs * (2 * self.inputs + 8)

    @property
    def weights(self) -> int:
        """Learned values: the template, the scales of the latents, and the residual images."""
        residual = self.config.latent_dim * self.outputs if "residual" in self.config.deformations else 0
        return self.outputs + self.inputs + residual

    @property
    def values_in_memory(self) -> int:
        """Values in memory per image: the coordinates and the sampled pixels."""
        return 10 * self.outputs + 2 * self.inputs

    def layer(self, batch: Sequence[int], copies: int = 1) -> Deformation:
        """Build the layer.

        Args:
            batch: axes of the stack, (R, K).
            copies: must be 1.

        Raises:
            ValueError: `copies` is not 1; decoders never share an input.
        """
        _check_single("template", copies)
        return Deformation(batch, self.size, self.config)


@dataclass(frozen=True)
class MaskedDense(Dense):
    """A linear layer of MADE: outputs depend on earlier pixels only."""

    pixels: int
    first: bool
    """Whether the inputs are pixels."""
    last: bool
    """Whether the outputs are pixels."""

    def layer(self, batch: Sequence[int], copies: int = 1) -> MaskedLinear:
        """Build the layer; see `Dense.layer`."""
        mask = made_mask(self.inputs, self.outputs, self.pixels, self.first, self.last)
        return MaskedLinear(batch, mask, copies)


@dataclass(frozen=True)
class Masked:
    """A masked convolution, which keeps the size of a feature map."""

    size: Size
    inputs: int
    channels: int
    reach: int
    dilation: int = 1
    itself: bool = True
    residual: bool = False

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.channels

    @property
    def products(self) -> int:
        """Multiplications per image, without those of the masked taps."""
        return math.prod(self.size) * self.weights

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return preceding_taps(self.reach, self.itself) * self.inputs * self.channels

    @property
    def values_in_memory(self) -> int:
        """Values in memory per image: the input, activated and padded, and copies of the output."""
        height, width = self.size
        padding = self.reach * self.dilation
        padded = (height + padding) * (width + 2 * padding)
        return (2 * math.prod(self.size) + padded) * self.inputs + 6 * math.prod(self.size) * self.channels

    def layer(self, batch: Sequence[int], copies: int = 1) -> MaskedConvolution:
        """Build the layer.

        Args:
            batch: axes of the stack, (R,) or (R, K).
            copies: number of layers that read the same input; their output channels are concatenated.
        """
        return MaskedConvolution(
            batch,
            self.size,
            self.inputs,
            copies * self.channels,
            reach=self.reach,
            dilation=self.dilation,
            itself=self.itself,
            residual=self.residual,
            fan_out=self.channels,
        )


LayerSpecs = list[Dense | Down | Up | Warp | MaskedDense | Masked]


def perceptron(sizes: Sequence[int]) -> LayerSpecs:
    """Return the linear layers of a perceptron with the given widths, from input to output.

    Args:
        sizes: widths, from the inputs to the outputs.
    """
    return [Dense(*pair) for pair in itertools.pairwise(sizes)]


def _check_single(what: str, copies: int) -> None:
    if copies != 1:
        raise ValueError(f"a {what} cannot have copies; expected copies=1")
