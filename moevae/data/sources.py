"""All images and labels of a data set in official order, before any split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moevae.config.registry import DATASETS, RELEASES
from moevae.data import idx, npz
from moevae.data.releases import OFFICIAL_TEST

Labels = tuple[np.ndarray, tuple[str, ...]]
"""Indices into the names of the classes, [N] int64, and these names."""


def _no_labels(root: Path | None) -> Labels | None:
    return None


@dataclass(frozen=True)
class DataSource:
    """Where all images and labels of a data set come from, in official order, before any split.

    Register one in DATASETS under the name that a configuration gives the data set. Both functions are given
    the folder of data sets, or None where `moevae.data.idx.data_root` finds it, and may download into it.
    """

    images: Callable[[Path | None], np.ndarray]
    """All gray images: uint8, or float32 in [0, 1], [N, H, W]."""
    labels: Callable[[Path | None], Labels | None] = _no_labels
    """All labels and the names of the classes; None where there are none."""
    num_test: int | None = None
    """Images at the end of the official order that are the test set; None: a fifth, by `split_seed`."""
    comes_with: str = "a package"
    """Where the files come from, for people."""


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
    if name in RELEASES:
        return idx.read_images(name, root)
    return _source(name).images(root)


def read_labels(name: str, root: Path | None) -> Labels | None:
    """Return all labels in official order, and the names of the classes."""
    if name.startswith("npz:"):
        return npz.read_labels(npz_path(name))
    if name in RELEASES:
        return idx.read_labels(name, root)
    return _source(name).labels(root)


def official_test(name: str) -> int | None:
    """Return the number of images of the official test set, the last ones; None if there is no such set."""
    if name.startswith("npz:"):
        return npz.test_count(npz_path(name))
    return OFFICIAL_TEST if name in RELEASES else _source(name).num_test


def _source(name: str) -> DataSource:
    source: DataSource = DATASETS.find(name)
    return source


def _digits() -> Any:
    from sklearn.datasets import load_digits  # slow to import and often not needed

    return load_digits()


DATASETS.register("digits")(
    DataSource(
        images=lambda root: (_digits().images / 16).astype(np.float32),
        labels=lambda root: (_digits().target.astype(np.int64), tuple("0123456789")),
        comes_with="scikit-learn",
    )
)


def npz_path(name: str) -> Path:
    """Return the path in the name of a data set such as `npz:PATH`."""
    return Path(name.removeprefix("npz:"))
