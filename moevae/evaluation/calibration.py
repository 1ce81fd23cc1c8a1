"""Calibration of the gate as a classifier, after its experts are matched with classes.

One part of the images determines the classes of the experts and another part is scored, so that no image is
scored with a matching that used its label.

References:
    Guo, Pleiss, Sun, Weinberger (2017), on calibration of modern neural networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moevae.data.classes import MAX_COUNTED
from moevae.evaluation.clustering import confusion, matching

BINS = 15
"""Number of confidence bins of equal width, as in Guo et al. (2017)."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """Confidence and accuracy of the predicted class, by bins of confidence."""

    images: np.ndarray
    """Number of images in each bin, [BINS]."""
    confidence: np.ndarray
    """Mean confidence in each bin, [BINS]; 0 for an empty bin."""
    accuracy: np.ndarray
    """Share of correct predictions in each bin, [BINS]; 0 for an empty bin."""

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]: mean absolute difference of confidence and accuracy."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((self.images * gaps).sum() / self.images.sum())


def classes_of_experts(gate_probs: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Match experts with classes.

    The matching is one-to-one by the images that the experts win, as for `acc`. With more experts than
    classes, each unmatched expert is assigned the class that receives most of its probability. With fewer
    experts, the gate never predicts the unmatched classes.

    Args:
        gate_probs: q(k|x), [K, N].
        labels: class of each image, [N].
        num_classes: number of classes.

    Returns:
        Class of each expert, [K].
    """
    counts = confusion(gate_probs.argmax(0), labels, len(gate_probs), num_classes)
    classes = matching(counts)
    mass = np.stack([np.bincount(labels, row, num_classes) for row in gate_probs])  # [K, C]
    return np.where(classes >= 0, classes, mass.argmax(1))


def class_probs(gate_probs: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the probability of each class: the sum over its experts.

    Args:
        gate_probs: q(k|x), [K, N].
        classes: class of each expert, [K].
        num_classes: number of classes.

    Returns:
        Probabilities, [N, classes].
    """
    return gate_probs.T @ np.eye(num_classes)[classes]


def reliability(probs: np.ndarray, labels: np.ndarray) -> ReliabilityCurve:
    """Return confidence and accuracy by bins of confidence.

    Args:
        probs: probability of each class, [N, classes].
        labels: class of each image, [N].
    """
    confidence = probs.max(1)
    right = probs.argmax(1) == labels
    # A bin includes its upper edge, as in the paper.
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    images = np.bincount(bins, minlength=BINS)
    filled = np.maximum(images, 1)
    return ReliabilityCurve(
        images=images,
        confidence=np.bincount(bins, confidence, BINS) / filled,
        accuracy=np.bincount(bins, right, BINS) / filled,
    )


def brier(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the Brier score in [0, 2]: the squared error of the probabilities, summed over classes.

    Args:
        probs: probability of each class, [N, classes].
        labels: class of each image, [N].

    References:
        Brier (1950), verification of forecasts expressed in terms of probability.
    """
    misses = probs - np.eye(probs.shape[1])[labels]
    return float(np.square(misses).sum(1).mean())


def calibration_metrics(
    gate_probs: np.ndarray, labels: np.ndarray, num_classes: int, naming: np.ndarray
) -> tuple[dict[str, float], ReliabilityCurve]:
    """Return the calibration metrics of a gate.

    Args:
        gate_probs: q(k|x), [K, N].
        labels: class of each image, non-negative integers, [N].
        num_classes: number of classes.
        naming: True for the images that determine the classes of the experts, [N] bool. The others, at least
            one, are scored.

    Returns:
        `ece` and `brier`, and the reliability curve.
    """
    probs = gate_probs.astype(np.float64)
    classes = classes_of_experts(probs[:, naming], labels[naming], num_classes)
    labels = labels[~naming]
    if num_classes > MAX_COUNTED:  # classes without an expert are never predicted; they are merged into one
        named, classes = np.unique(classes, return_inverse=True)
        places = np.minimum(np.searchsorted(named, labels), len(named) - 1)
        labels = np.where(named[places] == labels, places, len(named))
        num_classes = len(named) + 1
    scored = class_probs(probs[:, ~naming], classes, num_classes)
    bins = reliability(scored, labels)
    return {"ece": bins.ece, "brier": brier(scored, labels)}, bins
