"""Augmentation of images by shifts, rotations, scaling and stretching; the random draws are arguments."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SHIFT, ROTATION, SCALING = 0.07, math.radians(10), 0.1
"""Largest jitter: fraction of the side, radians, and relative change of the size."""

STRETCH = 0.8
"""Largest absolute logarithm of the factor by which a stretch changes the width or the height."""


LINEAR, OFFSET, WAVE = 0.15, 0.07, 0.06
"""Largest change of an entry of the linear map, largest shift, and standard deviation of displacements, in
half sides, of a deformation."""

GRID = 5
"""Points on a side of the grid whose displacements a deformation interpolates."""


def jitter(images: Tensor, draws: Tensor, size: tuple[int, int]) -> Tensor:
    """Shift, rotate and scale images.

    Args:
        images: [R, B, D].
        draws: shift to the right, shift down, rotation and growth, as fractions of the largest jitter in
            [-1, 1], [R, B, 4].
        size: height and width of an image, in pixels.

    Returns:
        Images, [R, B, D].
    """
    right, down, turn, growth = draws.flatten(0, 1).unbind(-1)  # [R B]
    shrink = 1 / (1 + SCALING * growth)
    cosine, sine = shrink * (ROTATION * turn).cos(), shrink * (ROTATION * turn).sin()
    rows = (cosine, sine, -2 * SHIFT * right, -sine, cosine, -2 * SHIFT * down)
    places = torch.stack(rows, -1).unflatten(-1, (2, 3))
    grid = functional.affine_grid(places, [len(places), 1, *size], align_corners=False)
    return _resampled(images, grid, size)


def stretch(images: Tensor, draws: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch images horizontally and vertically about their center.

    Args:
        images: [R, B, D].
        draws: logarithms of the horizontal and of the vertical factor, as fractions of the largest stretch in
            [-1, 1], [R, B, 2].
        size: height and width of an image, in pixels.

    Returns:
        Images, [R, B, D].
    """
    factors = (-STRETCH * draws).exp().flatten(0, 1)  # [R B, 2]
    still = torch.eye(2, 3, dtype=images.dtype, device=images.device)
    grid = functional.affine_grid(still.unsqueeze(0), [1, 1, *size], align_corners=False)  # [1, H, W, 2]
    # By factors, not by an affine map of each image: the same places, twice as fast.
    return _resampled(images, grid * factors[:, None, None], size)


def deform(images: Tensor, draws: Tensor, waves: Tensor, size: tuple[int, int]) -> Tensor:
    """Deform images by a random affine map and a smooth random displacement of the pixels.

    Args:
        images: [N, D].
        draws: entries of the affine map as fractions of their largest change in [-1, 1], [N, 6].
        waves: standard normal displacements of the points of a grid, [N, 2, 5, 5].
        size: height and width of an image, in pixels.

    Returns:
        Images, [N, D].
    """
    still = torch.eye(2, 3, dtype=images.dtype, device=images.device)
    change = torch.tensor([LINEAR, LINEAR, OFFSET], dtype=images.dtype, device=images.device)
    places = still + change * draws.unflatten(-1, (2, 3))
    pictures = images.reshape(-1, 1, *size)
    grid = functional.affine_grid(places, list(pictures.shape), align_corners=False)
    warp = functional.interpolate(WAVE * waves, size=size, mode="bicubic", align_corners=True)
    grid = grid + warp.permute(0, 2, 3, 1)
    moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return moved.reshape(images.shape)


def _resampled(images: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images at other places, [R, B, D].

    Args:
        images: [R, B, D].
        grid: input position of each pixel, across and along, in half sides from the center, [R B, H, W, 2].
        size: height and width of an image, in pixels.
    """
    pictures = images.reshape(-1, 1, *size)
    return functional.grid_sample(pictures, grid, align_corners=False).reshape(images.shape)
