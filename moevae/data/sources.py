"""All images and labels of a data set in official order, before any split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moevae.data import idx, npz
from moevae.data.releases import OFFICIAL_TEST, RELEASES


def read_images(name: str, root: Path | None) -> np.ndarray:
    """Return all images in official order.

    Args:
        name: name of the data set in a configuration.
        root: folder of MNIST and Fashion-MNIST.

    Returns:
        Images, [N, H, W]; an npz file may also have [N, D].
    """
    if name.startswith("npz:"):
        return npz.read_images(npz_path(name))
    if name == "digits":
        return (_digits().images / 16).astype(np.float32)
    return idx.read_images(name, root)


def read_labels(name: str, root: Path | None) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return all labels in official order, and the names of the classes; None if there are no labels."""
    if name.startswith("npz:"):
        return npz.read_labels(npz_path(name))
    if name == "digits":
        return _digits().target.astype(np.int64), tuple("0123456789")
    return idx.read_labels(name, root)


def official_test(name: str) -> int | None:
    """Return the number of images of the official test set, the last ones; None if there is no such set."""
    if name.startswith("npz:"):
        return npz.test_count(npz_path(name))
    return OFFICIAL_TEST if name in RELEASES else None


def _digits() -> Any:
    from sklearn.datasets import load_digits  # slow to import and often not needed

    return load_digits()


def npz_path(name: str) -> Path:
    """Return the path in the name of a data set such as `npz:PATH`."""
    return Path(name.removeprefix("npz:"))
