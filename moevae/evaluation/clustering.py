"""Clustering metrics: the agreement of assignments, made without labels, with labels."""

from __future__ import annotations

import numpy as np


def clustering(assignments: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the agreement of clusters with classes; it does not depend on the order of the clusters.

    Args:
        assignments: expert of each image, non-negative integers, [N].
        labels: class of each image, non-negative integers, [N].

    Returns:
        A dictionary with three metrics. `acc` is the share of images whose expert is matched with their class
        in the best one-to-one matching; unmatched experts and classes count as errors. `nmi` is the mutual
        information, divided by the arithmetic mean of the entropies. `ari` is the adjusted Rand index: at
        most 1, and 0 on average for random assignments.

    Raises:
        ValueError: there are no images, the lengths differ, or values are not non-negative integers.

    References:
        Kuhn (1955), the Hungarian method for the assignment problem.
        Hubert, Arabie (1985), comparing partitions.

    Examples:
        >>> import moevae
        >>> moevae.clustering([1, 1, 0, 0], [0, 0, 1, 0])["acc"]
        0.75
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and not needed before training
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    assignments, labels = _checked(assignments, labels)
    if not len(labels):
        raise ValueError("clustering needs at least one image")
    counts = confusion(assignments, labels, int(assignments.max()) + 1, int(labels.max()) + 1)
    experts, classes = linear_sum_assignment(counts, maximize=True)
    return {
        "acc": float(counts[experts, classes].sum() / len(labels)),
        "nmi": float(normalized_mutual_info_score(labels, assignments)),
        "ari": float(adjusted_rand_score(labels, assignments)),
    }


def confusion(assignments: np.ndarray, labels: np.ndarray, num_experts: int, num_classes: int) -> np.ndarray:
    """Count the images of each class that each expert wins.

    Args:
        assignments: expert of each image, [N].
        labels: class of each image, [N].
        num_experts: K.
        num_classes: number of classes.

    Returns:
        Counts, [K, classes] int64.

    Raises:
        ValueError: the lengths differ, or values are out of range.
    """
    assignments, labels = _checked(assignments, labels)
    if np.any(assignments >= num_experts) or np.any(labels >= num_classes):
        raise ValueError(f"expected assignments below {num_experts} and labels below {num_classes}")
    cells = assignments * num_classes + labels
    return np.bincount(cells, minlength=num_experts * num_classes).reshape(num_experts, num_classes)


def matching(counts: np.ndarray) -> np.ndarray:
    """Return the class of each expert in the one-to-one matching that defines `acc`.

    Args:
        counts: images by expert and class, [K, classes].

    Returns:
        Classes, [K] int64; -1 for an unmatched expert.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and not needed before training

    experts, classes = linear_sum_assignment(counts, maximize=True)
    matched = np.full(counts.shape[0], -1, dtype=np.int64)
    matched[experts] = classes
    return matched


def _checked(assignments: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check assignments and labels, and return them as int64."""
    assignments, labels = np.asarray(assignments), np.asarray(labels)
    if assignments.ndim != 1 or assignments.shape != labels.shape:
        raise ValueError(
            f"assignments have shape {assignments.shape} and labels {labels.shape}; expected both [N]"
        )
    for values in (assignments, labels):
        if values.dtype.kind not in "iu" or np.any(values < 0):
            raise ValueError("expected assignments and labels that are non-negative integers")
    return assignments.astype(np.int64), labels.astype(np.int64)
