"""Images moved, turned, scaled and stretched, by draws that are given."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SHIFT, ROTATION, SCALING = 0.07, math.radians(10), 0.1
"""Largest jitter: a share of the side, radians, and a factor's distance from 1."""

STRETCH = 0.8
"""Logarithm of the largest factor by which a stretch makes an image wider or higher, or less so."""


def jitter(images: Tensor, draws: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images moved, turned and scaled, [R, B, D].

    Args:
        images: [R, B, D].
        draws: how far right, down, turned and grown, in [-1, 1] of the largest jitter, [R, B, 4].
        size: height and width of an image.
    """
    right, down, turn, growth = draws.flatten(0, 1).unbind(-1)  # [R B]
    shrink = 1 / (1 + SCALING * growth)
    cosine, sine = shrink * (ROTATION * turn).cos(), shrink * (ROTATION * turn).sin()
    rows = (cosine, sine, -2 * SHIFT * right, -sine, cosine, -2 * SHIFT * down)
    return _moved(images, torch.stack(rows, -1), size)


def stretch(images: Tensor, draws: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images made wider and higher about their center, [R, B, D].

    Args:
        images: [R, B, D].
        draws: how much wider and higher, in [-1, 1] of the largest stretch, by its logarithm, [R, B, 2].
        size: height and width of an image.
    """
    across, along = (-STRETCH * draws).exp().flatten(0, 1).unbind(-1)  # [R B]
    still = torch.zeros_like(across)
    return _moved(images, torch.stack((across, still, still, still, along, still), -1), size)


def _moved(images: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images, [R, B, D], each pixel from its place: an affine map of places, [R B, 6], row by row.

    Places are measured in half sides from the center.
    """
    pictures = images.reshape(-1, 1, *size)
    grid = functional.affine_grid(places.unflatten(-1, (2, 3)), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, align_corners=False).reshape(images.shape)
