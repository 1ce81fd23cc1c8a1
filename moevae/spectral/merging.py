"""Merging of many small clusters so that the least information about neighbors is lost.

The information of a clustering is the mutual information I(k; k') between the clusters of an image and of a
random one of its neighbors. It grows with the number of clusters and with their closure under the neighbor
relation, and does not assume clusters of equal size.

References:
    Slonim, Tishby (1999), agglomerative information bottleneck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def joint(labels: np.ndarray, neighbors: np.ndarray, count: int) -> np.ndarray:
    """Return the joint distribution of the clusters of an image and of its neighbor, symmetrized, [K, K].

    Args:
        labels: cluster of each image, [N].
        neighbors: indices of the neighbors of each image, [N, n].
        count: number of clusters, K.
    """
    pairs = labels[:, None] * count + labels[neighbors]
    counts = np.bincount(pairs.ravel(), minlength=count**2).reshape(count, count).astype(np.float64)
    return (counts + counts.T) / (2 * counts.sum())


def information(joint: np.ndarray) -> float:
    """Return the mutual information of a symmetric joint distribution, in nats.

    Args:
        joint: probability of each pair of clusters, [K, K].
    """
    return float(_plogp(joint).sum() - 2 * _plogp(joint.sum(1)).sum())


@dataclass(frozen=True)
class Merges:
    """Merges of clusters, from the first one to a single cluster."""

    losses: np.ndarray
    """Information lost by the merge of n clusters into n - 1, at index n, [K + 1]; index 0 and 1 are 0."""
    entropies: np.ndarray
    """What that merge would lose if no neighbors were in different clusters of the pair, [K + 1]."""
    pairs: tuple[tuple[int, int], ...]
    """The merged clusters, in order: the second of a pair joins the first, and later indices move down."""

    def merged(self, labels: np.ndarray, count: int) -> np.ndarray:
        """Return labels after merging clusters down to a given number.

        Args:
            labels: cluster of each point before merging, [N].
            count: number of clusters after merging.

        Returns:
            Labels, [N].
        """
        clusters = len(self.pairs) + 1
        now = np.arange(clusters)  # of each first cluster
        for keep, gone in self.pairs[: max(0, clusters - count)]:
            now = np.where(now == gone, keep, np.where(now > gone, now - 1, now))
        return now[labels]


def merge_all(joint: np.ndarray) -> Merges:
    """Merge clusters one pair at a time, each time the pair whose merge loses least information.

    Args:
        joint: joint distribution of the clusters of neighbors, symmetric, [K, K].
    """
    joint, pairs = joint.copy(), []
    losses, entropies = np.zeros((2, len(joint) + 1))
    while len(joint) > 1:
        lost = merge_losses(joint)
        keep, gone = np.unravel_index(lost.argmin(), lost.shape)
        losses[len(joint)] = lost[keep, gone]
        one, other = joint[keep].sum(), joint[gone].sum()
        entropies[len(joint)] = _plogp(one + other) - _plogp(one) - _plogp(other)
        pairs.append((int(keep), int(gone)))
        joint[keep] += joint[gone]
        joint[:, keep] += joint[:, gone]
        joint = np.delete(np.delete(joint, gone, 0), gone, 1)
    return Merges(losses, entropies, tuple(pairs))


def merge_losses(joint: np.ndarray) -> np.ndarray:
    """Return the information that each merge of two clusters would lose, in nats.

    Args:
        joint: probability of each pair of clusters, symmetric, [K, K].

    Returns:
        The loss of merging clusters i < j; elsewhere infinite, [K, K].
    """
    share = joint.sum(1)
    cells, own = _plogp(joint), np.diag(joint)
    rest = cells.sum(1)[:, None] - _plogp(own)[:, None] - cells  # of row i, without columns i and j
    together = _plogp(joint[:, None] + joint[None]).sum(2)
    together -= _plogp(own[:, None] + joint) + _plogp(own[None] + joint)
    gained = 2 * (together - rest - rest.T)
    gained += (
        _plogp(own[:, None] + own[None] + 2 * joint) - _plogp(own)[:, None] - _plogp(own)[None] - 2 * cells
    )
    gained -= 2 * (_plogp(share[:, None] + share[None]) - _plogp(share)[:, None] - _plogp(share)[None])
    lost = np.maximum(-gained, 0.0)
    lost[np.tril_indices(len(joint))] = np.inf
    return lost


def _plogp(values: np.ndarray) -> np.ndarray:
    return values * np.log(np.maximum(values, 1e-300))
