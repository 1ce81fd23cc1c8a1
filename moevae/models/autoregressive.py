"""Autoregressive pixels: a small network per expert that predicts a pixel from the preceding pixels.

A pixel precedes another if it lies above it, or to its left in the same row. The output is added to the
logits of the decoder, so that it is computed once per image, for any number of samples of z.

References:
    Gulrajani et al. (2017), PixelVAE: a latent variable model for natural images. PixelVAE applies such a
    network after the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from moevae.config.schema import ModelConfig
from moevae.models import architecture
from moevae.models.architecture import REACH
from moevae.nn.layer_specs import Size
from moevae.nn.sequential import BranchingNetwork


class Context(nn.Module):
    """Networks, stacked over runs and experts, from the preceding pixels in a window to a logit per pixel.

    Args:
        config: the model; its `likelihood` is `autoregressive`.
        runs: R.
        size: height and width of an image, in pixels.
    """

    def __init__(self, config: ModelConfig, runs: int, size: Size) -> None:
        super().__init__()
        self.size, self.pixels = size, math.prod(size)
        self.network = BranchingNetwork(
            runs, config.num_experts, architecture.context(config), config.activation
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
        return self.network(preceding_pixels(x, self.size)).unflatten(-2, (-1, self.pixels)).squeeze(-1)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the logits of rows that are sorted by run and expert.

        Args:
            x: images, [T, D].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Logits, [T, D].
        """
        return self.network.sparse(preceding_pixels(x, self.size), [end * self.pixels for end in ends]).view(
            x.shape
        )

    def sample_probs(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Sample images pixel by pixel and return the probability of each pixel given the preceding ones.

        Args:
            logits: logits of the decoder, [R, K, B, D].
            uniform: uniform draws on [0, 1), one per pixel, [D].

        Returns:
            Probabilities, [R, K, B, D].
        """
        runs, experts, batch, _ = logits.shape
        ends = [batch * count for count in range(1, 1 + runs * experts)]
        rows = logits.flatten(0, 2)  # [T, D]
        height, width = self.size
        canvas = logits.new_zeros(len(rows), height + REACH, width + 2 * REACH)
        probability = torch.empty_like(rows)
        for place, draw in enumerate(uniform):
            row, column = divmod(place, width)
            window = canvas[:, row : row + REACH + 1, column : column + 2 * REACH + 1]
            seen = window.flatten(1)[:, : architecture.NUM_PRECEDING]
            probability[:, place] = (rows[:, place] + self.network.sparse(seen, ends).squeeze(-1)).sigmoid()
            canvas[:, row + REACH, column + REACH] = (draw < probability[:, place]).to(canvas.dtype)
        return probability.view(logits.shape)


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
