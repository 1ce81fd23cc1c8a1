"""Images split for training, validation and test; labels split alike, but kept where training cannot see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moevae.config.registry import RELEASES
from moevae.config.schema import DataConfig
from moevae.data import sources
from moevae.data.classes import check_classes
from moevae.data.sources import official_test
from moevae.data.splits import positions_of
from moevae.utils.identity import DataIdentity, of_labels


@dataclass(frozen=True)
class Images:
    """All that training may see. Pixels are gray: uint8 of 0..255, or float32 in [0, 1]."""

    name: str
    sha256: str
    """Of all pixels in official order, before splitting: the same for every split of the same images. Of a
    test set that is no official one, how many images it has counts too."""
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
    images = sources.read_images(config.name, root)
    split = positions_of(config, len(images), root)
    pixels = np.ascontiguousarray(images).reshape(len(images), -1)
    height, width = images.shape[1:] if images.ndim == 3 else _sides(images.shape[1])
    digest = hashlib.sha256(pixels.data)
    if config.name not in RELEASES and (own := official_test(config.name)):
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
    found = sources.read_labels(config.name, root)
    if found is None:
        return None
    labels, classes = found
    check_classes(config.name, labels, len(classes))
    split = positions_of(config, len(labels), root)
    parts = (labels[split.train], labels[split.validation], labels[split.test])
    return Labels(*parts, classes, of_labels(labels, classes))


def identify(images: Images, labels: Labels | None) -> DataIdentity:
    """Return the identity of a data set that was loaded."""
    return DataIdentity(images.sha256, labels.sha256 if labels else "", images.size)


def _sides(dim: int) -> tuple[int, int]:
    """Return height and width of images that came flat: square where possible, else one row."""
    side = isqrt(dim)
    return (side, side) if side * side == dim else (1, dim)
