"""Data sets: images for training, validation and test, and their labels, which training never reads."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moevae.config.registry import RELEASES
from moevae.config.schema import DataConfig, RunConfig
from moevae.data import sources
from moevae.data.classes import check_classes
from moevae.data.sources import official_test
from moevae.data.splits import positions_of
from moevae.utils.identity import DataIdentity, labels_digest


@dataclass(frozen=True)
class Images:
    """Images of a data set in grayscale: uint8 of 0..255, or float32 in [0, 1]. They contain no labels.

    Raises:
        TypeError: a split is not a tensor of one of these types.
        ValueError: a split is not of shape [N, height * width].

    Examples:
        >>> import moevae, torch
        >>> noise = torch.rand(100, 5 * 6)
        >>> images = moevae.Images("noise", "", 5, 6, train=noise[:80], validation=noise[:0], test=noise[80:])
        >>> images.size, len(images.train)
        ((5, 6), 80)
    """

    name: str
    sha256: str
    """SHA-256 of all pixels in official order, before splitting, so that it does not depend on the split. If
    a file defines its own test set, the number of test images is hashed, too."""
    height: int
    width: int
    train: Tensor
    """Training images, [N, D]."""
    validation: Tensor
    """Validation images, [N, D]; N may be 0."""
    test: Tensor
    """Test images, [N, D]."""
    shuffled: bool = False
    """Whether the training images are in random order, so that the first ones represent all."""

    def __post_init__(self) -> None:
        count = self.height * self.width
        for split in ("train", "validation", "test"):
            pixels = getattr(self, split)
            if not isinstance(pixels, Tensor) or pixels.dtype not in (torch.uint8, torch.float32):
                found = pixels.dtype if isinstance(pixels, Tensor) else type(pixels).__name__
                raise TypeError(f"{split} images of type {found}; expected a tensor of uint8 or float32")
            if pixels.ndim != 2 or pixels.shape[1] != count:
                raise ValueError(
                    f"{split} images have shape {list(pixels.shape)}; expected [N, {count}]"
                    f" for {self.height} x {self.width} pixels"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class Labels:
    """Labels of a data set, in the order of its images: indices into `classes`.

    Examples:
        >>> import moevae
        >>> labels = moevae.load_labels(moevae.preset("digits").data)
        >>> labels.classes[labels.test[0]] in "0123456789"
        True
    """

    train: np.ndarray
    """Labels of the training images, [N] int64."""
    validation: np.ndarray
    """Labels of the validation images, [N] int64."""
    test: np.ndarray
    """Labels of the test images, [N] int64."""
    classes: tuple[str, ...]
    sha256: str = ""
    """SHA-256 of all labels in official order and of the names of the classes."""


def load_images(config: DataConfig, root: str | os.PathLike[str] | None = None) -> Images:
    """Load the images of a data set and split them.

    MNIST, Fashion-MNIST and npz files with `test_images` keep their official test set. For other data, one
    fifth of the images, selected by `split_seed`, is the test set. `imbalance` then removes images by class,
    and the validation split is taken from the rest. Smaller training sets are subsets of larger ones.

    Args:
        config: name, sizes and splits of the data set.
        root: folder of MNIST and Fashion-MNIST. None means MOEVAE_DATA, or the cache folder of the user.

    Raises:
        DataError: a file is missing or corrupt, the images have an unexpected form, there are too few images,
            or `imbalance` is set without labels.

    Examples:
        >>> import moevae
        >>> moevae.load_images(moevae.DataConfig(name="digits", validation_size=100)).validation.shape
        torch.Size([100, 64])
    """
    _check_data(config)
    root = None if root is None else Path(root)
    images = sources.read_images(config, root)
    split = positions_of(config, len(images), root)
    pixels = np.ascontiguousarray(images).reshape(len(images), -1)
    height, width = images.shape[1:] if images.ndim == 3 else sides(images.shape[1])
    digest = hashlib.sha256(pixels.data)
    if config.name not in RELEASES and (own := official_test(config)):
        digest.update(f"{own} for test".encode())  # with another test set, the same pixels are different data
    return Images(
        name=config.name,
        sha256=digest.hexdigest(),
        height=height,
        width=width,
        train=torch.from_numpy(pixels[split.train]),
        validation=torch.from_numpy(pixels[split.validation]),
        test=torch.from_numpy(pixels[split.test]),
        shuffled=True,
    )


def load_labels(config: DataConfig, root: str | os.PathLike[str] | None = None) -> Labels | None:
    """Load the labels of a data set, in the order of the images that `load_images` returns.

    Args:
        config: name, sizes and splits of the data set.
        root: folder of MNIST and Fashion-MNIST, as for `load_images`.

    Returns:
        The labels; None for an npz file without labels.

    Raises:
        DataError: as for `load_images`, or the labels look like ids of images.

    Examples:
        >>> import moevae
        >>> moevae.load_labels(moevae.DataConfig(name="digits")).test.shape
        (359,)
    """
    _check_data(config)
    root = None if root is None else Path(root)
    found = sources.read_labels(config, root)
    if found is None:
        return None
    labels, classes = found
    check_classes(config.name, labels, len(classes))
    split = positions_of(config, len(labels), root)
    parts = (labels[split.train], labels[split.validation], labels[split.test])
    return Labels(*parts, classes, labels_digest(labels, classes))


def identify(images: Images, labels: Labels | None) -> DataIdentity:
    """Return the identity of a loaded data set; labels are None if it has none.

    Args:
        images: the images.
        labels: the labels, or None.
    """
    return DataIdentity(images.sha256, labels.sha256 if labels else "", images.size)


def check_images(images: object) -> None:
    """Check the type of an argument that must be `Images`.

    Args:
        images: the argument.

    Raises:
        TypeError: the argument is not `Images`.
    """
    if not isinstance(images, Images):
        raise TypeError(
            f"images is of type {type(images).__name__}; expected Images, which load_images returns"
            " (MixtureOfVAEs takes arrays)"
        )


def _check_data(config: object) -> None:
    """Raise TypeError unless a configuration is one of data."""
    if not isinstance(config, DataConfig):
        hint = "its part `data`" if isinstance(config, RunConfig) else "moevae.DataConfig(name=...)"
        raise TypeError(f"config is of type {type(config).__name__}; expected a DataConfig, such as {hint}")


def sides(dim: int) -> tuple[int, int]:
    """Return the height and width of flat images: a square if possible, otherwise one row.

    Args:
        dim: number of pixels, D.
    """
    side = isqrt(dim)
    return (side, side) if side * side == dim else (1, dim)
