"""How far a gate's probabilities can be believed, once its experts have the names of classes.

The names come from one part of the images and the scores from another, so that no image helps to name the
expert that it is scored with. Numbers in, numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moevae.data.classes import KEPT
from moevae.evaluation.clustering import confusion, matching

BINS = 15
"""Of confidence, equally wide, as in Guo et al. 2017."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """Images by how confident the gate was in the class it named."""

    images: np.ndarray
    """In each bin of confidence, [BINS]."""
    confidence: np.ndarray
    """Mean confidence of the bin, [BINS]; 0 where it is empty."""
    accuracy: np.ndarray
    """Share of the bin whose class was right, [BINS]; 0 where it is empty."""

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: the mean distance of confidence and accuracy, over images."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((self.images * gaps).sum() / self.images.sum())


def classes_of_experts(gate_probs: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the class that each expert stands for, [K].

    Experts are matched one-to-one with classes by the images they win, as for `acc`. Where there are more
    experts than classes, each one left over stands for the class that gets most of its probability; where
    there are fewer, some classes have no expert, and the gate never names them.

    Args:
        gate_probs: q(k|x), [K, N].
        labels: class of each image [N].
        num_classes: how many classes there are, C.
    """
    counts = confusion(gate_probs.argmax(0), labels, len(gate_probs), num_classes)
    classes = matching(counts)
    mass = np.stack([np.bincount(labels, row, num_classes) for row in gate_probs])  # [K, C]
    return np.where(classes >= 0, classes, mass.argmax(1))


def class_probs(gate_probs: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the probability of each class, [N, C]: the sum over the experts that stand for it.

    Args:
        gate_probs: q(k|x), [K, N].
        classes: the class that each expert stands for, [K].
        num_classes: how many classes there are, C.
    """
    return gate_probs.T @ np.eye(num_classes)[classes]


def reliability(probs: np.ndarray, labels: np.ndarray) -> ReliabilityCurve:
    """Return confidence and accuracy by bins of confidence; probs [N, C], labels [N]."""
    confidence = probs.max(1)
    right = probs.argmax(1) == labels
    # A bin holds its upper end, as in the paper.
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    images = np.bincount(bins, minlength=BINS)
    filled = np.maximum(images, 1)
    return ReliabilityCurve(
        images=images,
        confidence=np.bincount(bins, confidence, BINS) / filled,
        accuracy=np.bincount(bins, right, BINS) / filled,
    )


def brier(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the Brier score, 0 to 2: the mean squared distance to the true class, summed over classes.

    Args:
        probs: probability of each class, [N, C].
        labels: class of each image, [N].
    """
    misses = probs - np.eye(probs.shape[1])[labels]
    return float(np.square(misses).sum(1).mean())


def calibrated(
    gate_probs: np.ndarray, labels: np.ndarray, num_classes: int, naming: np.ndarray
) -> tuple[dict[str, float], ReliabilityCurve]:
    """Return `ece` and `brier` of a gate as a classifier that was never told a class, and the bins behind.

    Args:
        gate_probs: q(k|x), [K, N].
        labels: class of each image [N], integers from 0.
        num_classes: how many classes there are.
        naming: which images name the experts, [N] bool; the others are scored, and there is at least one.
    """
    probs = gate_probs.astype(np.float64)
    classes = classes_of_experts(probs[:, naming], labels[naming], num_classes)
    labels = labels[~naming]
    if num_classes > KEPT:  # those that no expert stands for are never named, and count as one
        named, classes = np.unique(classes, return_inverse=True)
        places = np.minimum(np.searchsorted(named, labels), len(named) - 1)
        labels = np.where(named[places] == labels, places, len(named))
        num_classes = len(named) + 1
    scored = class_probs(probs[:, ~naming], classes, num_classes)
    bins = reliability(scored, labels)
    return {"ece": bins.ece, "brier": brier(scored, labels)}, bins
