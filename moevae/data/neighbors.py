"""Which images are near each other, and how far: what the smoothness of a gate stands on. No labels."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moevae.data.binarization import to_float
from moevae.utils.rng import generator

NEAREST = 10
"""Neighbors of an image."""

REFERENCE = 6000
"""Images among which distances are measured: the tenth of 60,000 is about as far as the first of 6,000."""

COMPONENTS = 64
"""Principal components by which neighbors are looked for."""

WIDE = 1024
"""Pixels up to which the components come from the covariance of all pairs of pixels."""


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

    points = to_float(images.cpu())
    count = len(points)
    chosen = torch.randperm(count, generator=generator(seed, "neighbors"))[:REFERENCE]
    rank = max(1, round(NEAREST * len(chosen) / count))
    # One more than the rank, because a chosen image finds itself.
    found = NearestNeighbors(n_neighbors=min(rank + 1, len(chosen)), algorithm="brute").fit(points[chosen])
    far = torch.from_numpy(found.kneighbors(points)[0]).float()  # [N, rank + 1]
    own = torch.zeros(count, dtype=torch.bool)
    own[chosen] = True
    return torch.where(own, far[:, -1], far[:, min(rank, far.shape[1]) - 1])


@functools.lru_cache(maxsize=1)
def nearest_neighbors(images: Tensor) -> Tensor:
    """Return the places of the nearest other images, nearest first, [N, 10] int64; fewer where N is small.

    Near is by the Hellinger distance between images as distributions of ink, sqrt(1 - sum sqrt(p p')), along
    their leading principal components. An image alone is its own neighbor.

    Args:
        images: stored pixels, [N, D], on any device.
    """
    from sklearn.decomposition import PCA  # slow to import, and often not needed
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    count, pixels = images.shape
    if count == 1:
        return torch.zeros(1, 1, dtype=torch.int64)
    points = functional.normalize(to_float(images.cpu()).sqrt(), dim=1).numpy()
    with (
        threadpool_limits(1, user_api="blas"),  # more would round otherwise, and so pick other neighbors
        np.errstate(invalid="ignore"),  # equal images have no variance to explain
    ):
        seen = PCA(
            min(COMPONENTS, count, pixels), svd_solver=_solver(count, pixels), random_state=0
        ).fit_transform(points)
    found = NearestNeighbors(n_neighbors=min(NEAREST, count - 1), algorithm="brute").fit(seen)
    return torch.from_numpy(found.kneighbors(return_distance=False))


def _solver(count: int, pixels: int) -> str:
    """Return how PCA finds its components: never by the covariance of many pixels, D x D numbers.

    The thin SVD of few images is exact. The randomized one costs a few products with the images.
    """
    if pixels <= WIDE:
        return "covariance_eigh"
    return "full" if count <= WIDE else "randomized"
