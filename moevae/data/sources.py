"""All images and labels of a data set in official order, before any split."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moevae.config.registry import DATASETS, FILE_FORMATS, RELEASES
from moevae.config.schema import DataConfig
from moevae.data import amat, folder, idx, npz
from moevae.data.releases import OFFICIAL_TEST
from moevae.utils.io import expand_home

Labels = tuple[np.ndarray, tuple[str, ...]]
"""Indices into the names of the classes, [N] int64, and these names."""


def _no_labels(root: Path | None) -> Labels | None:
    return None


@dataclass(frozen=True)
class DataSource:
    """The images and labels of a data set, in official order, before any split.

    Register an instance in DATASETS under the name of the data set, the value of `data.name`. Both functions
    get the folder of data sets and may download into it; for None, `moevae.data.idx.data_root` returns it.
    """

    images: Callable[[Path | None], np.ndarray]
    """Returns all grayscale images: uint8, or float32 in [0, 1], [N, H, W]."""
    labels: Callable[[Path | None], Labels | None] = _no_labels
    """Returns all labels and the names of the classes; None if there are none."""
    num_test: int | None = None
    """Number of test images, last in the official order; None for one fifth, selected by `split_seed`."""
    comes_with: str = "a package"
    """Origin of the files, shown by `moevae info`."""


@dataclass(frozen=True)
class FileFormat:
    """A format of the user's own data sets; the name `FORMAT:PATH` refers to a file or folder of it.

    All functions get the path and the data configuration.
    """

    images: Callable[[Path, DataConfig], np.ndarray]
    """Returns all images in official order: uint8, or float32 in [0, 1], [N, H, W] or [N, D]."""
    labels: Callable[[Path, DataConfig], Labels | None]
    """Returns all labels and the names of the classes; None if there are none."""
    num_test: Callable[[Path, DataConfig], int | None]
    """Returns the number of test images, which are last; None for one fifth, selected by `split_seed`."""


def read_images(data: DataConfig, root: Path | None) -> np.ndarray:
    """Return all images in official order.

    Args:
        data: the data configuration.
        root: folder of MNIST and Fashion-MNIST.

    Returns:
        Images, [N, H, W]; an npz file may also have [N, D].
    """
    if own := own_path(data.name):
        return own[0].images(own[1], data)
    if data.name in RELEASES:
        return idx.read_images(data.name, root)
    return _source(data.name).images(root)


def read_labels(data: DataConfig, root: Path | None) -> Labels | None:
    """Return all labels in official order, and the names of the classes.

    Args:
        data: the data configuration.
        root: folder of MNIST and Fashion-MNIST.
    """
    if own := own_path(data.name):
        return own[0].labels(own[1], data)
    if data.name in RELEASES:
        return idx.read_labels(data.name, root)
    return _source(data.name).labels(root)


def official_test(data: DataConfig) -> int | None:
    """Return the number of images of the official test set, the last ones; None if there is no such set.

    Args:
        data: the data configuration.
    """
    if own := own_path(data.name):
        return own[0].num_test(own[1], data)
    return OFFICIAL_TEST if data.name in RELEASES else _source(data.name).num_test


def own_path(name: str) -> tuple[FileFormat, Path] | None:
    """Return the format and the path of the user's own data set; None for other data sets.

    Args:
        name: `data.name` of a configuration.

    Raises:
        ConfigError: the path begins with ~, and the home folder is unknown.
    """
    kind, colon, path = name.partition(":")
    return (FILE_FORMATS[kind], expand_home(Path(path))) if colon and kind in FILE_FORMATS else None


def _source(name: str) -> DataSource:
    source: DataSource = DATASETS.find(name)
    return source


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the images of scikit-learn's digits, 0 to 16, [N, 8, 8], and their labels, [N]."""
    package = importlib.util.find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if file.exists():  # importing scikit-learn would delay the first training step by a second
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target


DATASETS.register("digits")(
    DataSource(
        images=lambda root: (_digits()[0] / 16).astype(np.float32),
        labels=lambda root: (_digits()[1].astype(np.int64), tuple("0123456789")),
        comes_with="scikit-learn",
    )
)

FILE_FORMATS.register("npz")(
    FileFormat(
        images=lambda path, _: npz.read_images(path),
        labels=lambda path, _: npz.read_labels(path),
        num_test=lambda path, _: npz.test_count(path),
    )
)
FILE_FORMATS.register("folder")(
    FileFormat(images=folder.read_images, labels=folder.read_labels, num_test=lambda path, data: None)
)
FILE_FORMATS.register("amat")(
    FileFormat(
        images=lambda path, _: amat.read_images(path),
        labels=lambda path, _: None,
        num_test=lambda path, _: amat.test_count(path),
    )
)
