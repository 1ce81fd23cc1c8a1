"""Clusters of images: candidates from the graph of neighbors, and the one of highest information."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from moevae.spectral.graph import Graph, neighbor_graph, spectral_embedding
from moevae.spectral.merging import Merges, information, joint, merge_all
from moevae.utils.rng import generator

SAMPLE = 10_000
"""Largest number of images from which k-means computes centers."""

FACTORS = (1.5, 2, 3, 4)
"""Clusters of a candidate before they are merged, as multiples of the number of clusters."""

CANDIDATES_EACH = 4
"""Candidates with each number of dimensions and clusters; more of them find higher information."""

TYPICAL, FINER = 10, (3, 4, 5)
"""Number of clusters, and multiples of it, for which candidates are made if it is not given."""

MAX_CLUSTERS = 20
"""Largest number of clusters that is found; merges of all candidates have lost their noise by then."""

GAIN_OFFSET = 0.1
"""Added to the scaled gains of information, so that the ratio of two tiny gains counts as one."""

NUM_AVERAGED = 10
"""Candidates of highest information over which the separation of merged pairs is averaged."""


@dataclass(frozen=True)
class Clusters:
    """A clustering of images."""

    labels: np.ndarray
    """Cluster of each image, [N] int64."""
    count: int
    """Number of clusters, K."""
    information: float
    """Mutual information of the clusters of an image and of its neighbors, in nats."""


@dataclass(frozen=True)
class Candidate:
    """A clustering into many clusters, and its merges."""

    labels: np.ndarray
    """Cluster of each image before merging, [N]."""
    merges: Merges
    information: np.ndarray
    """Information after merging to n clusters, at index n, in nats, [clusters + 1]."""


def cluster_images(images: Tensor, size: tuple[int, int], count: int | None, seed: int) -> Clusters:
    """Cluster images without labels.

    Args:
        images: stored pixels, on the CPU, [N, D].
        size: height and width of an image, in pixels.
        count: number of clusters; None finds it.
        seed: seed of the candidates.
    """
    if len(images) < 2:
        return Clusters(np.zeros(len(images), np.int64), count or 1, 0.0)
    return cluster_graph(neighbor_graph(images, size), count, seed)


def cluster_graph(graph: Graph, count: int | None, seed: int) -> Clusters:
    """Cluster the images of a graph.

    Args:
        graph: the images and their neighbors.
        count: number of clusters; None finds it.
        seed: seed of the candidates.
    """
    found = candidates(graph, count or TYPICAL, seed, FACTORS if count else FINER)
    if count is None:
        count = choose_count(found)
    best = max(
        (each for each in found if len(each.information) > count), key=lambda each: each.information[count]
    )
    labels = best.merges.merged(best.labels, count).astype(np.int64)
    return Clusters(labels, count, float(best.information[count]))


def neighbor_shares(labels: np.ndarray, nearest: np.ndarray, count: int) -> np.ndarray:
    """Return the share of each cluster among the nearest clustered images of new images, [M, K].

    Args:
        labels: cluster of each clustered image, [N].
        nearest: indices of clustered images, [M, n].
        count: number of clusters, K.
    """
    return np.eye(count)[labels[nearest]].mean(1)


def candidates(graph: Graph, count: int, seed: int, factors: Sequence[float] = FACTORS) -> list[Candidate]:
    """Return k-means clusterings of spectral embeddings with 1 to 3 times as many dimensions as clusters.

    Args:
        graph: the images and their neighbors.
        count: number of clusters that the candidates are to be merged to.
        seed: seed of the sample and of the first centers.
        factors: numbers of clusters before they are merged, as multiples of `count`.
    """
    from sklearn.cluster import KMeans  # slow to import, and often not needed
    from sklearn.exceptions import ConvergenceWarning

    images = len(graph.neighbors)
    random = np.random.RandomState(generator(seed, "candidates of clusters").initial_seed() % 2**32)
    vectors = spectral_embedding(graph, 3 * count)
    found = []
    dimensions = range(count, 3 * count + 1, max(1, count // 5))
    for dims in [each for each in dimensions for _ in range(CANDIDATES_EACH)]:
        length = np.linalg.norm(vectors[:, :dims], axis=1, keepdims=True)
        points = vectors[:, :dims] / np.maximum(length, 1e-12)
        sample = points[random.permutation(images)[:SAMPLE]]
        for clusters in sorted({round(factor * count) for factor in factors}):
            means = KMeans(min(clusters, len(sample)), n_init=1, random_state=random.randint(2**31))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
                labels = means.fit(sample).predict(points)
            together = joint(labels, graph.neighbors, clusters)
            merges = merge_all(together)
            lost = np.cumsum(merges.losses[::-1])[::-1] - merges.losses  # at n: by all merges before
            found.append(Candidate(labels, merges, information(together) - lost))
    return found


def choose_count(found: list[Candidate]) -> int:
    """Return the number of clusters after which further clusters add least, compared with those before.

    Two criteria are multiplied. With I(n), the highest information of n clusters, the gain I(n) - I(n - 1)
    is 2 ln 2 / n if it parts two separate groups of share 1 / n: the ratio of n times the gain of n, and the
    same for n + 1. And the separation of the pair that is merged from n to n - 1 clusters, the information
    lost as a share of the entropy of the pair, which does not depend on shares: the root of its ratio.

    Args:
        found: candidates with many more clusters than are expected.
    """
    largest = min(MAX_CLUSTERS, min(len(each.information) for each in found) - 2)
    if largest < 2:
        return 1
    information = np.stack([each.information[: largest + 2] for each in found])  # [candidates, clusters]
    merges = [each.merges for each in found]
    lost = np.stack([each.losses[: largest + 2] for each in merges])
    entropy = np.stack([each.entropies[: largest + 2] for each in merges])
    separate = np.divide(lost, entropy, out=np.zeros_like(lost), where=entropy > 0)
    best = np.argsort(-information, axis=0)[:NUM_AVERAGED]
    separation = np.take_along_axis(separate, best, 0).mean(0)[2:] + GAIN_OFFSET
    gains = np.arange(2, largest + 2) * np.diff(information.max(0))[1:] + GAIN_OFFSET  # of n from 2 on
    fall = gains[:-1] / gains[1:] * np.sqrt(separation[:-1] / separation[1:])
    return 2 + int(fall.argmax())
