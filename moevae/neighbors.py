"""Which images are near each other, and how far: what the smoothness of a gate stands on. No labels."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moevae.pixels import gray
from moevae.seeding import generator

NEAREST = 10
"""Neighbors of an image."""

REFERENCE = 6000
"""Images among which distances are measured: the tenth of 60,000 is about as far as the first of 6,000."""

COMPONENTS = 64
"""Principal components by which neighbors are looked for."""

CELL, DIRECTIONS = 4, 8
"""Side of a cell in pixels, and directions told apart in it."""


@functools.lru_cache(maxsize=1)  # the parts of a population share their images
def distances(images: Tensor, seed: int) -> Tensor:
    """Return about how far each image is from its tenth neighbor, in pixel units, [N], float32.

    Where there are many images, the neighbors are looked for in a sample that `seed` fixes, and a nearer
    one is taken in proportion.

    Args:
        images: stored pixels, [N, D], on any device.
        seed: of the sample.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import, and often not needed

    points = gray(images.cpu())
    count = len(points)
    chosen = torch.randperm(count, generator=generator(seed, "neighbors"))[:REFERENCE]
    rank = max(1, round(NEAREST * len(chosen) / count))
    # One more than the rank, because a chosen image finds itself.
    found = NearestNeighbors(n_neighbors=min(rank + 1, len(chosen)), algorithm="brute").fit(points[chosen])
    far = torch.from_numpy(found.kneighbors(points)[0]).float()  # [N, rank + 1]
    own = torch.zeros(count, dtype=torch.bool)
    own[chosen] = True
    return torch.where(own, far[:, -1], far[:, min(rank, far.shape[1]) - 1])


def ink(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images as distributions of ink, [N, D]: their distance is that of Hellinger, but for a factor.

    That is sqrt(1 - sum sqrt(p p')) of distributions p and p'.

    Args:
        images: gray, [N, D].
        size: height and width of an image.
    """
    return functional.normalize(images.sqrt(), dim=1)


def edges(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where edges of which direction are, beside the `ink` and of the same weight, [N, F].

    Histograms of oriented gradients: Dalal, Triggs (2005), with one block, the image. Arguments as of `ink`.
    """
    from skimage.feature import hog  # slow to import, and seldom needed

    cell = tuple(min(CELL, side) for side in size)
    cells = tuple(side // each for side, each in zip(size, cell, strict=True))
    found = [
        hog(image, DIRECTIONS, cell, cells, block_norm="L1-sqrt") for image in images.view(-1, *size).numpy()
    ]
    histograms = functional.normalize(torch.from_numpy(np.stack(found)).to(images.dtype), dim=1)
    return torch.cat([histograms, ink(images, size)], 1)


Look = Callable[[Tensor, tuple[int, int]], Tensor]
"""From gray images, [N, D], and their height and width to what neighbors have in common, [N, F]."""


@functools.lru_cache(maxsize=1)
def nearest(images: Tensor, size: tuple[int, int], look: Look) -> Tensor:
    """Return the places of the nearest other images, nearest first, [N, 10] int64; fewer where N is small.

    Near is by Euclidean distance along the leading principal components of what `look` sees. An image alone
    is its own neighbor.

    Args:
        images: stored pixels, [N, D], on any device.
        size: height and width of an image.
        look: `ink` or `edges`.
    """
    from sklearn.decomposition import PCA  # slow to import, and often not needed
    from sklearn.neighbors import NearestNeighbors

    if len(images) == 1:
        return torch.zeros(1, 1, dtype=torch.int64)
    points = look(gray(images.cpu()), size).numpy()
    with np.errstate(invalid="ignore"):  # equal images have no variance to explain
        seen = PCA(min(COMPONENTS, *points.shape), svd_solver="covariance_eigh").fit_transform(points)
    found = NearestNeighbors(n_neighbors=min(NEAREST, len(points) - 1), algorithm="brute").fit(seen)
    return torch.from_numpy(found.kneighbors(return_distance=False))
