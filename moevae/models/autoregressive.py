"""Autoregressive pixels: a network that predicts a pixel from the preceding pixels.

A pixel precedes another if it lies above it, or to its left in the same row. The output is added to the
logits of the decoder, so that it is computed once per image, for any number of samples of z.

References:
    Gulrajani et al. (2017), PixelVAE: a latent variable model for natural images. PixelVAE applies such a
    network after the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from moevae.config.schema import ModelConfig
from moevae.models import architecture
from moevae.models.architecture import REACH
from moevae.models.dispatch import Dispatch
from moevae.nn.layer_specs import Size
from moevae.nn.masked import MaskedConvolution
from moevae.nn.sequential import BranchingNetwork

Reader = Callable[[Tensor, int], Tensor]
"""A function from images whose pixels before a place are drawn, [T, D], and the place, to its logits, [T]."""


class Context(nn.Module):
    """A masked network of whole images, stacked over runs and experts, that gives a logit per pixel.

    Subclasses compute the same at lower cost.

    Args:
        config: the model; its `likelihood` is `autoregressive`.
        runs: R.
        size: height and width of an image, in pixels.
    """

    def __init__(self, config: ModelConfig, runs: int, size: Size) -> None:
        super().__init__()
        self.size, self.pixels = size, math.prod(size)
        self.network = BranchingNetwork(
            runs,
            config.num_experts,
            architecture.context(config, size),
            config.activation,
            architecture.common_context(config),
        )

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        return f"size={self.size[0]}x{self.size[1]}"

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of all experts.

        Args:
            x: images as the likelihood sees them, [R, B, D].

        Returns:
            Logits, [R, K, B, D].
        """
        return self.network(x)

    def shared(self, x: Tensor) -> Tensor:
        """Return what `sparse` reads: the output of the shared layers, or the images if there are none.

        Args:
            x: images as the likelihood sees them, [R, B, D].

        Returns:
            Features, or images, [R, B, H].
        """
        return self.network.shared(x)

    def rows(self, x: Tensor, dispatch: Dispatch) -> Tensor:
        """Return the logits of the chosen experts.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            dispatch: the chosen experts of the images.

        Returns:
            Logits in the order of the rows, [T, D].
        """
        return self.sparse(dispatch.images(self.shared(x)), dispatch.ends)

    def sparse(self, shared: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the logits of rows that are sorted by run and expert.

        Args:
            shared: output of `shared` for each row, [T, H].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Logits, [T, D].
        """
        return self.network.sparse(shared, ends)

    def sample_probs(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Sample images pixel by pixel and return the probability of each pixel given the preceding ones.

        Args:
            logits: logits of the decoder, [R, K, B, D].
            uniform: uniform draws on [0, 1), [R, K, B, D], or one per pixel for all images, [D].

        Returns:
            Probabilities, [R, K, B, D].
        """
        runs, experts, batch = logits.shape[:3]
        rows = logits.flatten(0, 2)  # [T, D]
        read = self._reader(rows, runs, [batch * count for count in range(1, 1 + runs * experts)])
        drawn, probability = torch.zeros_like(rows), torch.empty_like(rows)
        for place, draw in enumerate(uniform.expand_as(logits).flatten(0, 2).unbind(-1)):
            probability[:, place] = (rows[:, place] + read(drawn, place)).sigmoid()
            drawn[:, place] = draw < probability[:, place]
        return probability.view(logits.shape)

    def _reader(self, rows: Tensor, runs: int, ends: Sequence[int]) -> Reader:
        """Return a function that reads images while they are drawn pixel by pixel.

        Args:
            rows: logits of the decoder, of which the type and the number of rows count, [T, D].
            runs: R.
            ends: row at which each group (run, expert) ends.
        """

        def read(drawn: Tensor, place: int) -> Tensor:
            shared = self.shared(drawn.view(runs, -1, self.pixels)).flatten(0, 1)
            return self.sparse(shared, ends)[:, place]

        return read


class WindowContext(Context):
    """A network that reads the window of each pixel, so that each pixel is a row of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of all experts; see `Context.forward`."""
        return self.network(preceding_pixels(x, self.size)).unflatten(-2, (-1, self.pixels)).squeeze(-1)

    def shared(self, x: Tensor) -> Tensor:
        """Return what `sparse` reads; see `Context.shared`."""
        if not self.network.trunk.layers:
            return x
        return self.network.shared(preceding_pixels(x, self.size)).view(*x.shape[:-1], -1)

    def sparse(self, shared: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the logits of sorted rows; see `Context.sparse`."""
        alone = not self.network.trunk.layers
        read = preceding_pixels(shared, self.size) if alone else shared.view(len(shared) * self.pixels, -1)
        return self.network.sparse(read, [end * self.pixels for end in ends]).view(len(shared), -1)

    def _reader(self, rows: Tensor, runs: int, ends: Sequence[int]) -> Reader:
        """Return a function that reads the window of one pixel."""
        height, width = self.size
        canvas = rows.new_zeros(len(rows), height + REACH, width + 2 * REACH)

        def read(drawn: Tensor, place: int) -> Tensor:
            if place:
                row, column = divmod(place - 1, width)
                canvas[:, row + REACH, column + REACH] = drawn[:, place - 1]
            row, column = divmod(place, width)
            window = canvas[:, row : row + REACH + 1, column : column + 2 * REACH + 1]
            seen = window.flatten(1)[:, : architecture.NUM_PRECEDING]
            shared = self.network.shared(seen.view(runs, -1, architecture.NUM_PRECEDING)).flatten(0, 1)
            return self.network.sparse(shared, ends).squeeze(-1)

        return read


class ConvolutionalContext(Context):
    """Masked convolutions, whose feature maps grow by one position for each pixel that is drawn."""

    def rows(self, x: Tensor, dispatch: Dispatch) -> Tensor:
        """Return the logits of the chosen experts; see `Context.rows`."""
        if not self.network.rest.layers:
            return dispatch.chosen(self(x))  # cheaper than a copy of the shared feature maps for each row
        return super().rows(x, dispatch)

    def _reader(self, rows: Tensor, runs: int, ends: Sequence[int]) -> Reader:
        """Return a function that computes one position of each feature map."""
        network, experts = self.network, len(ends) // runs
        by_run = ends[experts - 1 :: experts]
        stages: list[tuple[MaskedConvolution, Sequence[int], int | None]] = [
            *((cast(MaskedConvolution, layer), by_run, None) for layer in network.trunk.layers),
            (cast(MaskedConvolution, network.first), ends, experts),
            *((cast(MaskedConvolution, layer), ends, None) for layer in network.rest.layers),
        ]
        maps = [rows.new_zeros(len(rows), self.pixels, layer.inputs) for layer, *_ in stages]

        def read(drawn: Tensor, place: int) -> Tensor:
            if place:
                maps[0][:, place - 1, 0] = drawn[:, place - 1]
            for (layer, stage_ends, copies), seen, following in zip_longest(stages, maps, maps[1:]):
                found = layer.at(seen, place, stage_ends, copies)
                if following is not None:
                    following[:, place] = network.rest.activation(found)
            return found.squeeze(-1)

        return read


CONTEXTS = {"window": WindowContext, "conv": ConvolutionalContext, "made": Context}
"""The class of each `model.pixel_network`."""


def preceding_pixels(x: Tensor, size: Size) -> Tensor:
    """Return the preceding pixels in the window of each pixel; pixels outside the image are zero.

    Args:
        x: images, [..., B, D].
        size: height and width of an image, in pixels.

    Returns:
        Windows, [..., B D, `NUM_PRECEDING`].
    """
    pictures = functional.pad(x.reshape(-1, *size), (REACH, REACH, REACH, 0))
    windows = pictures.unfold(1, REACH + 1, 1).unfold(2, 2 * REACH + 1, 1)  # [N, H, W, rows, columns]
    return windows.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1], -1)[..., : architecture.NUM_PRECEDING]
