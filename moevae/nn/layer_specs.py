"""Layers as values: what each reads and gives, costs and holds, and how it is built."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from moevae.config.schema import ModelConfig
from moevae.nn.conv import TAPS, Convolution, Transposed, halved
from moevae.nn.deformation import Deformation, latent_size
from moevae.nn.linear import StackedLinear

Size = tuple[int, int]
"""Height and width, in pixels."""


@dataclass(frozen=True)
class Dense:
    """A linear map."""

    inputs: int
    outputs: int

    @property
    def products(self) -> int:
        """Multiplications for an image."""
        return self.inputs * self.outputs

    @property
    def weights(self) -> int:
        """Weights, biases left out."""
        return self.inputs * self.outputs

    @property
    def held(self) -> int:
        """Numbers held at once for an image: what is read, by expert and activated, and what is given."""
        return 3 * self.inputs + 2 * self.outputs

    def layer(self, batch: Sequence[int], copies: int = 1) -> StackedLinear:
        """Return it stacked over `batch`, with copies that read one input side by side."""
        return StackedLinear(batch, self.inputs, copies * self.outputs, fan_out=self.outputs)


@dataclass(frozen=True)
class Down:
    """A convolution that halves pictures of a size, from so many channels to so many."""

    size: Size
    inputs: int
    outputs: int

    @property
    def products(self) -> int:
        """Multiplications for an image, those with the border's zeros too."""
        return math.prod(halved(self.size)) * TAPS * self.inputs * self.outputs

    @property
    def weights(self) -> int:
        """Weights, biases left out."""
        return TAPS * self.inputs * self.outputs

    @property
    def held(self) -> int:
        """Numbers held at once for an image, the patches that the kernel sees among them."""
        read = 3 * math.prod(self.size) * self.inputs
        return read + math.prod(halved(self.size)) * (TAPS * self.inputs + 2 * self.outputs)

    def layer(self, batch: Sequence[int], copies: int = 1) -> Convolution:
        """Return it stacked over `batch`, with copies that read one input side by side."""
        return Convolution(batch, self.size, self.inputs, copies * self.outputs, fan_out=self.outputs)


@dataclass(frozen=True)
class Up:
    """A transposed convolution that doubles pictures to a size, from so many channels to so many."""

    size: Size
    inputs: int
    outputs: int

    @property
    def products(self) -> int:
        """Multiplications for an image, those with what falls outside too."""
        return math.prod(halved(self.size)) * TAPS * self.inputs * self.outputs

    @property
    def weights(self) -> int:
        """Weights, biases left out."""
        return TAPS * self.inputs * self.outputs

    @property
    def held(self) -> int:
        """Numbers held at once for an image, the patches before they are added up among them."""
        given = 2 * math.prod(self.size) * self.outputs
        return given + math.prod(halved(self.size)) * (2 * self.inputs + TAPS * self.outputs)

    def layer(self, batch: Sequence[int], copies: int = 1) -> Transposed:
        """Return it stacked over `batch`; it stands in decoders, where no two read one input.

        Raises:
            ValueError: copies.
        """
        if copies > 1:
            raise ValueError("a transposed convolution cannot have copies; expected copies=1")
        return Transposed(batch, self.size, self.inputs, self.outputs)


@dataclass(frozen=True)
class Warp:
    """A template that latents deform."""

    size: Size
    config: ModelConfig

    @property
    def inputs(self) -> int:
        """Latents."""
        return latent_size(self.config)

    @property
    def outputs(self) -> int:
        """Pixels."""
        return math.prod(self.size)

    @property
    def products(self) -> int:
        """Multiplications for an image: two coordinates a pixel from every latent, and four neighbors."""
        return self.outputs * (2 * self.inputs + 8)

    @property
    def weights(self) -> int:
        """Numbers learned: the template, the scales of the latents, and the residual's templates."""
        residual = self.config.latent_dim * self.outputs if "residual" in self.config.deformations else 0
        return self.outputs + self.inputs + residual

    @property
    def held(self) -> int:
        """Numbers held at once for an image: coordinates, and what is sampled there."""
        return 10 * self.outputs + 2 * self.inputs

    def layer(self, batch: Sequence[int], copies: int = 1) -> Deformation:
        """Return it stacked over `batch`, which is (R, K).

        Raises:
            ValueError: copies.
        """
        if copies > 1:
            raise ValueError("a template cannot have copies; expected copies=1")
        return Deformation(batch, self.size, self.config)


Plan = list[Dense | Down | Up | Warp]


def perceptron(sizes: Sequence[int]) -> Plan:
    """Return linear layers from each width to the next."""
    return [Dense(*pair) for pair in itertools.pairwise(sizes)]
