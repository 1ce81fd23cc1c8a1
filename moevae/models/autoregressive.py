"""What the pixels before a pixel tell of it: an expert's small network, for pixels that depend on pixels.

Before means above, or to the left in the same row. Gulrajani et al. (2017), PixelVAE, have such a network
after a decoder; here it is added to the decoder's logits, so that it is looked at once an image however many
latents are drawn for it.
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
    """Logits of all pixels from those before them in a window, of the experts of all runs."""

    def __init__(self, config: ModelConfig, runs: int, size: Size) -> None:
        super().__init__()
        self.size, self.pixels = size, math.prod(size)
        self.network = BranchingNetwork(
            runs, config.num_experts, architecture.context(config), config.activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of every expert, [R, K, B, D]; images x [R, B, D]."""
        return self.network(before(x, self.size)).unflatten(-2, (-1, self.pixels)).squeeze(-1)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the logits of rows sorted by run and expert, [T, D]; images x [T, D]."""
        return self.network.sparse(before(x, self.size), [end * self.pixels for end in ends]).view(x.shape)

    def drawn(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Return the probability of each pixel given those before it, drawn one by one, [R, K, B, D].

        Args:
            logits: what is added to them, [R, K, B, D].
            uniform: draws on [0, 1) behind the pixels, [D].
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
            seen = window.flatten(1)[:, : architecture.TAPS_BEFORE]
            probability[:, place] = (rows[:, place] + self.network.sparse(seen, ends).squeeze(-1)).sigmoid()
            canvas[:, row + REACH, column + REACH] = (draw < probability[:, place]).to(canvas.dtype)
        return probability.view(logits.shape)


def before(x: Tensor, size: Size) -> Tensor:
    """Return the pixels before each pixel in its window, [..., B D, taps]; x [..., B, D]. Outside is zero."""
    pictures = functional.pad(x.reshape(-1, *size), (REACH, REACH, REACH, 0))
    windows = pictures.unfold(1, REACH + 1, 1).unfold(2, 2 * REACH + 1, 1)  # [N, H, W, rows, columns]
    return windows.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1], -1)[..., : architecture.TAPS_BEFORE]
