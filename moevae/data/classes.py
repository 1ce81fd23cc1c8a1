"""How many classes there may be, where a number or a picture is kept of each."""

from __future__ import annotations

import numpy as np

from moevae.errors import DataError

KEPT = 1000
"""Classes up to which a record keeps images by expert and class."""
FOLLOWED = 100
"""Classes up to which a record keeps them after each epoch."""
SHOWN = 30
"""Classes that pages and figures show, the largest."""


def check_classes(name: str, labels: np.ndarray, num_classes: int) -> None:
    """Refuse labels that look like ids of images.

    Args:
        name: of the data set.
        labels: class of each image, [N].
        num_classes: how many classes there are.

    Raises:
        DataError: more than a hundred classes, and fewer than two images a class.
    """
    if num_classes > max(100, len(labels) / 2):
        raise DataError(
            f"{name}: {num_classes:,} classes in {len(labels):,} labels look like ids; expected classes with "
            "several images each, or no labels"
        )


def largest(counts: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """Return the classes with the most images, at most so many, in ascending order; counts [K, C]."""
    return np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[:most])
