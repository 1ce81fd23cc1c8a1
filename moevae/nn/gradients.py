"""Histograms of oriented gradients: features that are robust to small shifts and changes of contrast.

An image of any size is divided into 7 x 7 cells, so that the number of features does not depend on the
size.

References:
    Dalal, Triggs (2005), histograms of oriented gradients for human detection.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

CELLS = 7
"""Cells along each side of an image."""

ORIENTATIONS = 8
"""Directions of a gradient, over the full circle."""

FEATURES = CELLS**2 * ORIENTATIONS
"""Number of features of an image, F."""

_OVERLAP = 0.25
"""Share of a cell that a histogram extends into each neighboring cell."""

_FLAT = 1e-3
"""Added to the energy of gradients, so that the noise of flat regions is not amplified."""

_VALUES = 1 << 19
"""Largest number of values that are computed at once; more would not fit into the cache."""


def histograms_of_gradients(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the histograms of oriented gradients of images.

    A gradient votes for the nearest two or three orientations in proportion to its magnitude. Histograms of
    overlapping cells are normalized by the energy of 3 x 3 cells.

    Args:
        images: pixels in [0, 1], [..., D].
        size: height and width of an image, in pixels.

    Returns:
        Features of mean square 1, or all 0 for an image without gradients, [..., F].
    """
    rows = images.reshape(-1, images.shape[-1])
    block = max(1, _VALUES // (ORIENTATIONS * rows.shape[1]))
    parts = [_histograms(part.view(-1, 1, *size)) for part in rows.split(block)]
    return torch.cat(parts).view(*images.shape[:-1], FEATURES)


def _histograms(pictures: Tensor) -> Tensor:
    """Return the features of pictures, [N, F]; pictures [N, 1, H, W]."""
    height, width = pictures.shape[-2:]
    padded = functional.pad(pictures - background(pictures), (1, 1, 1, 1))
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    magnitude = (across.square() + down.square() + 1e-12).sqrt()
    angles = torch.arange(ORIENTATIONS, device=pictures.device) * (2 * math.pi / ORIENTATIONS)
    cosine, sine = angles.cos().view(-1, 1, 1), angles.sin().view(-1, 1, 1)
    votes = (across / magnitude) * cosine  # [N, 8, H, W]
    votes.addcmul_(down / magnitude, sine).sub_(math.cos(2 * math.pi / ORIENTATIONS)).clamp_min_(0)
    votes *= magnitude / (votes.sum(1, keepdim=True) + 1e-6)
    over_rows = cell_weights(height).to(votes)
    over_columns = cell_weights(width).to(votes)
    cells = over_rows @ votes @ over_columns.T  # [N, 8, 7, 7]
    energy = functional.avg_pool2d(cells.square().sum(1, keepdim=True), 3, 1, 1)
    cells = cells / (energy + _FLAT).sqrt()
    return functional.normalize(cells.flatten(1), dim=1) * math.sqrt(FEATURES)


def background(pictures: Tensor) -> Tensor:
    """Return the median gray value at the border of each picture.

    Args:
        pictures: pixels, [..., H, W].

    Returns:
        Gray values, [..., 1, 1].
    """
    top, bottom, left, right = (
        pictures[..., 0, :],
        pictures[..., -1, :],
        pictures[..., 0],
        pictures[..., -1],
    )
    return torch.cat([top, bottom, left, right], -1).median(-1).values[..., None, None]


@functools.lru_cache(maxsize=16)
def cell_weights(side: int) -> Tensor:
    """Return the weight of each pixel in each cell along a side, [7, side].

    A pixel counts with the share of the cell that it covers. Cells overlap, and extend over the border.

    Args:
        side: length of the side, in pixels.
    """
    cell = side / CELLS
    begin = (torch.arange(CELLS, dtype=torch.float64).unsqueeze(1) - _OVERLAP) * cell
    end = begin + (1 + 2 * _OVERLAP) * cell
    pixel = torch.arange(side, dtype=torch.float64)
    covered = torch.minimum(end, pixel + 1) - torch.maximum(begin, pixel)
    return (covered.clamp_min(0) / ((1 + 2 * _OVERLAP) * cell)).float()
