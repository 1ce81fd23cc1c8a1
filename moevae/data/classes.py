"""Limits on the number of classes in records and figures."""

from __future__ import annotations

import numpy as np

from moevae.errors import DataError

MAX_COUNTED = 1000
"""Largest number of classes for which a record contains counts by expert and class."""
MAX_TRACKED = 100
"""Largest number of classes for which a record contains these counts after each epoch."""
MAX_SHOWN = 30
"""Number of classes, the largest ones, that pages and figures show."""


def check_classes(name: str, labels: np.ndarray, num_classes: int) -> None:
    """Check that labels are classes and not ids of images.

    Args:
        name: name of the data set.
        labels: class of each image, [N].
        num_classes: number of classes.

    Raises:
        DataError: there are more than 100 classes with fewer than two images per class on average.
    """
    if num_classes > max(100, len(labels) / 2):
        raise DataError(
            f"{name}: {num_classes:,} classes in {len(labels):,} labels look like ids; expected classes with "
            "several images each, or no labels"
        )


def largest(counts: np.ndarray, most: int = MAX_SHOWN) -> np.ndarray:
    """Return the classes with the most images.

    Args:
        counts: images by expert and class, [K, classes].
        most: largest number of classes to return.

    Returns:
        Indices of the classes in ascending order.
    """
    return np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[:most])
