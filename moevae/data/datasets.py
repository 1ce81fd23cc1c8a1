"""Images split for training, validation and test; labels split alike, but kept where training cannot see."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moevae.config.schema import DataConfig
from moevae.data import idx, npz
from moevae.data.classes import check_classes
from moevae.data.releases import OFFICIAL_TEST, RELEASES
from moevae.errors import DataError
from moevae.utils.identity import DataIdentity, of_labels


@dataclass(frozen=True)
class Images:
    """All that training may see. Pixels are gray: uint8 of 0..255, or float32 in [0, 1]."""

    name: str
    sha256: str
    """Of all pixels in official order, before splitting: the same for every split of the same images. Of an
    npz file's own test set, how many images it has counts too."""
    height: int
    width: int
    train: Tensor  # [N, D]
    validation: Tensor  # [N, D], N may be 0
    test: Tensor  # [N, D]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class Labels:
    """The classes of the same images, in the same order: indices into `classes`."""

    train: np.ndarray  # [N] int64
    validation: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]
    sha256: str = ""
    """Of all labels in official order and the names of the classes, before splitting."""


@dataclass(frozen=True)
class _Split:
    """Positions in the official order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def load_images(config: DataConfig, root: Path | None = None) -> Images:
    """Return the images of a data set, split as the configuration says.

    MNIST, Fashion-MNIST and an npz file with `test_images` keep their official test set; elsewhere a fifth,
    chosen by `split_seed`, is the test set. From the rest `imbalance` takes images by their class; then
    validation comes out of it. Smaller training sets are contained in larger ones.

    Args:
        config: which images, how many, split how.
        root: folder of MNIST and Fashion-MNIST; None for MOEVAE_DATA, else the user's cache folder.

    Raises:
        DataError: files missing or broken, images of the wrong form, more asked for than there are, or
            `imbalance` without labels.
    """
    images = _read_images(config.name, root)
    split = _split(config, len(images), root)
    pixels = np.ascontiguousarray(images).reshape(len(images), -1)
    height, width = images.shape[1:] if images.ndim == 3 else _sides(images.shape[1])
    digest = hashlib.sha256(pixels.data)
    if config.name.startswith("npz:") and (own := _official_test(config.name)):
        digest.update(f"{own} for test".encode())  # the same pixels parted elsewhere are other data
    return Images(
        name=config.name,
        sha256=digest.hexdigest(),
        height=height,
        width=width,
        train=torch.from_numpy(pixels[split.train]),
        validation=torch.from_numpy(pixels[split.validation]),
        test=torch.from_numpy(pixels[split.test]),
    )


def load_labels(config: DataConfig, root: Path | None = None) -> Labels | None:
    """Return the labels of the images that `load_images` returns for the same arguments, in the same order.

    Returns:
        None where the data set has no labels (an npz file without them).

    Raises:
        DataError: as `load_images`, for the files of labels; or labels that look like ids.
    """
    found = _read_labels(config.name, root)
    if found is None:
        return None
    labels, classes = found
    check_classes(config.name, labels, len(classes))
    split = _split(config, len(labels), root)
    parts = (labels[split.train], labels[split.validation], labels[split.test])
    return Labels(*parts, classes, of_labels(labels, classes))


def identify(images: Images, labels: Labels | None) -> DataIdentity:
    """Return the identity of a data set that was loaded."""
    return DataIdentity(images.sha256, labels.sha256 if labels else "", images.size)


def halves(config: DataConfig, split: str, count: int) -> np.ndarray:
    """Return which images of a split are in its first half, [N] bool: at random, fixed by `split_seed`."""
    first = np.zeros(count, dtype=bool)
    first[_order(config.split_seed, f"halves of {split}", count)[: count // 2]] = True
    return first


def _read_images(name: str, root: Path | None) -> np.ndarray:
    """Return all images in official order: [N, H, W] or, from an npz file, perhaps [N, D]."""
    if name.startswith("npz:"):
        return npz.read_images(_path(name))
    if name == "digits":
        return (_digits().images / 16).astype(np.float32)
    return idx.read_images(name, root)


def _read_labels(name: str, root: Path | None) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return all labels in official order, and the names of the classes."""
    if name.startswith("npz:"):
        return npz.read_labels(_path(name))
    if name == "digits":
        return _digits().target.astype(np.int64), tuple("0123456789")
    return idx.read_labels(name, root)


def _official_test(name: str) -> int | None:
    """Return how many images at the end of the official order are the test set; None where none is given."""
    if name.startswith("npz:"):
        return npz.test_count(_path(name))
    return OFFICIAL_TEST if name in RELEASES else None


def _digits() -> Any:
    from sklearn.datasets import load_digits  # slow to import, and often not needed

    return load_digits()


def _path(name: str) -> Path:
    return Path(name.removeprefix("npz:"))


def _sides(dim: int) -> tuple[int, int]:
    """Return height and width of images that came flat: square where possible, else one row."""
    side = isqrt(dim)
    return (side, side) if side * side == dim else (1, dim)


def _split(config: DataConfig, count: int, root: Path | None) -> _Split:
    """Divide positions 0..count-1 of the official order into training, validation and test."""
    if count < 3:
        raise DataError(f"{config.name}: {count} images cannot be split; right would be 3 or more")
    if official := _official_test(config.name):
        pool, test = np.split(np.arange(count), [count - official])
    else:
        order = _order(config.split_seed, "test split", count)
        test, pool = np.split(order, [max(1, count // 5)])
    pool = _thinned(pool[_order(config.split_seed, "validation split", len(pool))], config, root)
    held_out = max(1, len(pool) // 10) if config.validation_size is None else config.validation_size
    left = len(pool) - held_out
    if left < 1:
        raise DataError(
            f"data.validation_size = {held_out}: {config.name} has {len(pool)} images beside its test set,"
            " and at least one must stay for training"
        )
    if config.train_size is not None and config.train_size > left:
        raise DataError(
            f"data.train_size = {config.train_size}: {config.name} has {left} training images"
            f" beside {held_out} for validation and {len(test)} for test"
        )
    return _Split(pool[held_out:][: config.train_size], pool[:held_out], test)


def _thinned(pool: np.ndarray, config: DataConfig, root: Path | None) -> np.ndarray:
    """Return what stays of the positions, in their order, where the classes are imbalanced.

    Of each class the first stay in an order of its own: what a smaller factor keeps, a larger one keeps too,
    and every part of what stays has the same shares.
    """
    if config.imbalance == 1:
        return pool
    found = _read_labels(config.name, root)
    if found is None:
        raise DataError(
            f"data.imbalance = {config.imbalance:g}: {config.name} has no labels to tell its classes by;"
            " right would be 1"
        )
    labels, classes = found
    drawn = _order(config.split_seed, "imbalance", len(pool))
    kept = np.zeros(len(pool), dtype=bool)
    for rank, label in enumerate(_order(config.split_seed, "class sizes", len(classes))):
        places = drawn[labels[pool[drawn]] == label]
        kept[places[: max(1, round(len(places) * config.imbalance**rank))]] = True
    return pool[kept]


def _order(split_seed: int, stream: str, count: int) -> np.ndarray:
    """Return 0..count-1 in random order, the same on every machine and with every NumPy.

    NumPy keeps the raw words of a bit generator for ever, but not what `Generator` makes of them.
    """
    seeds = np.random.SeedSequence([split_seed, zlib.crc32(stream.encode())])
    return np.argsort(np.random.PCG64(seeds).random_raw(count), kind="stable")
