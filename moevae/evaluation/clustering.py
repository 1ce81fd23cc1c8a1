"""How well assignments, made without labels, agree with labels. Numbers in, numbers out."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


def clustering(assignments: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the agreement of clusters with classes; the names of the clusters do not matter.

    Args:
        assignments: expert of each image [N], integers from 0.
        labels: class of each image [N], integers from 0.

    Returns:
        `acc`, the share of images whose expert is matched with their class, in the best one-to-one matching
        (Hungarian; experts or classes in excess match nothing and count as wrong); `nmi`, mutual information
        over the arithmetic mean of the entropies; `ari`, the Rand index adjusted for chance (at most 1, about
        0 for random assignments).

    Raises:
        ValueError: no images, different lengths, or values that are not integers from 0.
    """
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
    """Return how many images of each class each expert won: counts [K, C] int64.

    Raises:
        ValueError: different lengths, or values outside 0..K-1 and 0..C-1.
    """
    assignments, labels = _checked(assignments, labels)
    if np.any(assignments >= num_experts) or np.any(labels >= num_classes):
        raise ValueError(f"expected assignments below {num_experts} and labels below {num_classes}")
    cells = assignments * num_classes + labels
    return np.bincount(cells, minlength=num_experts * num_classes).reshape(num_experts, num_classes)


def matching(counts: np.ndarray) -> np.ndarray:
    """Return the class of each expert [K] in the one-to-one matching behind `acc`; -1 for experts left over.

    Args:
        counts: images by expert and class [K, C].
    """
    experts, classes = linear_sum_assignment(counts, maximize=True)
    matched = np.full(counts.shape[0], -1, dtype=np.int64)
    matched[experts] = classes
    return matched


def _checked(assignments: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    assignments, labels = np.asarray(assignments), np.asarray(labels)
    if assignments.ndim != 1 or assignments.shape != labels.shape:
        raise ValueError(
            f"assignments have shape {assignments.shape} and labels {labels.shape}; expected both [N]"
        )
    for values in (assignments, labels):
        if values.dtype.kind not in "iu" or np.any(values < 0):
            raise ValueError("expected assignments and labels that are non-negative integers")
    return assignments.astype(np.int64), labels.astype(np.int64)
