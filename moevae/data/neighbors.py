"""Nearest neighbors of images and their distances, for consistency losses. They use no labels."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moevae.data.binarization import to_float
from moevae.utils.rng import generator

NEAREST = 10
"""Number of neighbors of an image."""

REFERENCE = 6000
"""Largest reference sample; the tenth neighbor among 60,000 images is about as far as the first of 6,000."""

COMPONENTS = 64
"""Number of principal components in which neighbors are searched."""

MAX_COVARIANCE_PIXELS = 1024
"""Largest number of pixels for which the components are computed from the covariance matrix."""


@functools.lru_cache(maxsize=1)  # the parts of a population share the images
def distances(images: Tensor, seed: int) -> Tensor:
    """Return the approximate distance of each image from its tenth neighbor.

    Among many images, only a sample is searched, and the rank of the neighbor is reduced in proportion.

    Args:
        images: stored pixels, on any device, [N, D].
        seed: seed of the sample.

    Returns:
        Distances in pixel units, [N] float32.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import, and often not needed

    points = to_float(images.cpu())
    count = len(points)
    chosen = torch.randperm(count, generator=generator(seed, "neighbors"))[:REFERENCE]
    rank = max(1, round(NEAREST * len(chosen) / count))
    # One more than the rank: an image of the sample finds itself.
    found = NearestNeighbors(n_neighbors=min(rank + 1, len(chosen)), algorithm="brute").fit(points[chosen])
    far = torch.from_numpy(found.kneighbors(points)[0]).float()  # [N, rank + 1]
    own = torch.zeros(count, dtype=torch.bool)
    own[chosen] = True
    return torch.where(own, far[:, -1], far[:, min(rank, far.shape[1]) - 1])


@functools.lru_cache(maxsize=1)
def nearest_neighbors(images: Tensor) -> Tensor:
    """Find the nearest other images of each image.

    The distance is the Hellinger distance between images as distributions of ink, sqrt(1 - sum sqrt(p p')),
    in their leading principal components. A single image is its own neighbor.

    Args:
        images: stored pixels, on any device, [N, D].

    Returns:
        Indices of the neighbors, nearest first, [N, 10] int64; fewer columns if N is small.
    """
    count = len(images)
    if count == 1:
        return torch.zeros(1, 1, dtype=torch.int64)
    points = functional.normalize(to_float(images.cpu()).sqrt(), dim=1).numpy()
    return torch.from_numpy(NeighborIndex(points).own()[0])


class NeighborIndex:
    """Exact search of nearest neighbors in the leading principal components of points.

    Args:
        points: at least two, [N, F].
    """

    def __init__(self, points: np.ndarray) -> None:
        from sklearn.decomposition import PCA  # slow to import, and often not needed
        from sklearn.neighbors import NearestNeighbors

        count, values = points.shape
        self._nearest = min(NEAREST, count - 1)
        self._pca = PCA(min(COMPONENTS, count, values), svd_solver=_solver(count, values), random_state=0)
        with _one_thread(), np.errstate(invalid="ignore"):  # identical points have no variance
            self._search = NearestNeighbors(n_neighbors=self._nearest, algorithm="brute").fit(
                self._pca.fit_transform(points)
            )

    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest other points of each point.

        Returns:
            Their indices, nearest first, [N, 10] int64, and their distances, [N, 10]; fewer columns if N is
            small.
        """
        distances, indices = self._search.kneighbors()
        return indices, distances

    def of(self, points: np.ndarray) -> np.ndarray:
        """Return the indices of the points nearest to new ones.

        Args:
            points: new points, [M, F].

        Returns:
            Indices of points of the index, nearest first, [M, 10] int64.
        """
        with _one_thread():
            seen = self._pca.transform(points)
        return self._search.kneighbors(seen, return_distance=False)


def _one_thread() -> AbstractContextManager[object]:
    """Return the context in which products have one thread: more would round differently."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _solver(count: int, pixels: int) -> str:
    """Return the solver of PCA; the covariance matrix of many pixels would be too large.

    The full SVD is exact and used for few images. The randomized SVD needs a few products with the images.
    """
    if pixels <= MAX_COVARIANCE_PIXELS:
        return "covariance_eigh"
    return "full" if count <= MAX_COVARIANCE_PIXELS else "randomized"
