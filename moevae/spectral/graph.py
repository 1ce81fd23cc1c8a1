"""The graph of nearest neighbors among images, and its spectral embedding."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

from moevae.data.neighbors import NeighborIndex
from moevae.spectral.features import image_features

SCALE_RANK = 7
"""Neighbor whose distance is the scale of an image, as in Zelnik-Manor and Perona."""

DENSE = 500
"""Largest number of images whose eigenvectors are computed from the full matrix."""

_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph of images, connected to their nearest neighbors."""

    neighbors: np.ndarray
    """Indices of the nearest other images, nearest first, [N, 10] int64."""
    distances: np.ndarray
    """Their distances in the leading principal components of the features, [N, 10]."""


class ImageIndex:
    """Index for the search of nearest neighbors among images, in the features of `image_features`.

    Args:
        images: stored pixels, on the CPU, [N, D].
        size: height and width of an image, in pixels.
    """

    def __init__(self, images: Tensor, size: tuple[int, int]) -> None:
        self._size = size
        self._index = NeighborIndex(image_features(images, size).numpy())

    def graph(self) -> Graph:
        """Return the graph of the images."""
        return Graph(*self._index.own())

    def nearest(self, images: Tensor) -> np.ndarray:
        """Return the indices of the images nearest to new ones.

        Args:
            images: new images, [M, D].

        Returns:
            Indices of images of the index, nearest first, [M, 10] int64.
        """
        return self._index.of(image_features(images, self._size).numpy())


@functools.lru_cache(maxsize=1)  # runs of a population, and runs in turn, share the images
def image_index(images: Tensor, size: tuple[int, int]) -> ImageIndex:
    """Return the index of training images, for nearest neighbors of new ones.

    Args:
        images: training images, [N, D].
        size: height and width of an image, in pixels.
    """
    return ImageIndex(images, size)


@functools.lru_cache(maxsize=1)
def neighbor_graph(images: Tensor, size: tuple[int, int]) -> Graph:
    """Return the graph of the nearest neighbors of images.

    Args:
        images: stored pixels, on the CPU, [N, D].
        size: height and width of an image, in pixels.
    """
    return image_index(images, size).graph()


@functools.lru_cache(maxsize=2)
def spectral_embedding(graph: Graph, components: int) -> np.ndarray:
    """Return the leading eigenvectors of the normalized adjacency matrix of a graph.

    They are computed by connected component, because one iteration misses multiple eigenvalues.

    The weight of neighbors i and j is exp(-d_ij^2 / (s_i s_j)), with the distance s_i of the seventh
    neighbor of i, so that no scale has to be chosen.

    Args:
        graph: the neighbors.
        components: number of eigenvectors; fewer if there are not enough images.

    Returns:
        Eigenvectors in columns, by falling eigenvalue, [N, components].

    References:
        Ng, Jordan, Weiss (2001), on spectral clustering: analysis and an algorithm.
        Zelnik-Manor, Perona (2004), self-tuning spectral clustering.
    """
    from scipy.sparse import coo_array, diags_array  # slow to import, and often not needed
    from scipy.sparse.csgraph import connected_components

    count, nearest = graph.neighbors.shape
    scale = np.maximum(graph.distances[:, min(SCALE_RANK, nearest) - 1], np.finfo(np.float32).tiny)
    weights = np.exp(-(graph.distances / scale[:, None]) * (graph.distances / scale[graph.neighbors]))
    weights = np.maximum(weights, 1e-12)
    rows = np.repeat(np.arange(count), nearest)
    one_way = coo_array((weights.ravel(), (rows, graph.neighbors.ravel())), shape=(count, count)).tocsr()
    joined = one_way + one_way.T
    shrink = diags_array(1 / np.sqrt(joined.sum(1)))
    matrix = shrink @ joined @ shrink
    _, part_of = connected_components(matrix, directed=False)
    sizes = np.bincount(part_of)
    parts = np.split(np.argsort(part_of, kind="stable"), np.cumsum(sizes)[:-1])
    found = [_leading_eigenpairs(matrix[nodes][:, nodes], components) for nodes in parts]
    values = np.concatenate([of_part for of_part, _ in found])
    leading = np.argsort(-values, kind="stable")[:components]
    vectors = np.zeros((count, len(leading)))
    column = np.full(len(values), -1)  # of each eigenpair in the result
    column[leading] = np.arange(len(leading))
    begin = 0
    for nodes, (of_part, own) in zip(parts, found, strict=True):
        place = column[begin : begin + len(of_part)]
        vectors[np.ix_(nodes, place[place >= 0])] = own[:, place >= 0]
        begin += len(of_part)
    return vectors


def _leading_eigenpairs(matrix: csr_array, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the leading eigenvalues, falling, and their eigenvectors of a connected graph, in columns."""
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh
    from threadpoolctl import threadpool_limits

    count = matrix.shape[0]
    with threadpool_limits(1, user_api="blas"):  # more threads would round differently
        if count <= max(DENSE, 4 * components):
            values, vectors = np.linalg.eigh(matrix.toarray())
        else:
            try:
                start = np.full(count, count**-0.5)
                values, vectors = eigsh(matrix, components, which="LA", v0=start, tol=_TOLERANCE)
            except ArpackNoConvergence as reached:
                values, vectors = reached.eigenvalues, reached.eigenvectors
    leading = np.argsort(-values)[:components]
    return values[leading], vectors[:, leading]
