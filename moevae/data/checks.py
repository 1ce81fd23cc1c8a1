"""Checks of the laws that every data set must satisfy.

Call them on a data set of your own, in a test, after you register it:

    def test_my_data_set():
        check_data_set(DataConfig(name="mine"))

The check raises an AssertionError that names the broken law. Shapes: N images, D pixels.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from moevae.config.schema import DataConfig
from moevae.data.datasets import Images, Labels, load_images, load_labels
from moevae.data.sources import read_images
from moevae.data.splits import positions_of
from moevae.utils.laws import law

SPLITS = ("train", "validation", "test")


def check_data_set(data: DataConfig, root: str | os.PathLike[str] | None = None) -> None:
    """Check that images and labels have the expected form, are reproducible, and are in disjoint splits.

    Pixels are uint8, or float32 in [0, 1]. Labels are indices into names of classes, one per image. The
    digest identifies the pixels: it does not change when they are read again or split otherwise.

    Args:
        data: the data set, a registered name or `FORMAT:PATH`, and its splits.
        root: folder of data sets, as for `load_images`.

    Raises:
        AssertionError: a law is broken; the message names it.
        DataError: the images cannot be read.
    """
    images = load_images(data, root)
    _check_pixels(images)
    again, other = (load_images(each, root) for each in (data, replace(data, split_seed=data.split_seed + 1)))
    law(again.sha256 == images.sha256, "the digest is the same when the images are read again")
    law(other.sha256 == images.sha256, "the digest does not depend on the split")
    for split in SPLITS:
        same = torch.equal(getattr(again, split), getattr(images, split))
        law(same, f"the {split} images are the same when they are read again")
    _check_splits(data, images, None if root is None else Path(root))
    labels = load_labels(data, root)
    if labels is not None:
        _check_labels(labels, images)
        renewed = load_labels(data, root)
        law(
            renewed is not None and renewed.sha256 == labels.sha256,
            "the digest is the same when the labels are read again",
        )


def _check_pixels(images: Images) -> None:
    for split in SPLITS:
        pixels = getattr(images, split)
        law(pixels.dtype in (torch.uint8, torch.float32), "pixels are uint8 or float32")
        law(bool(pixels.isfinite().all()), "pixels are finite")
        if pixels.dtype == torch.float32 and len(pixels):
            law(bool(pixels.min() >= 0 and pixels.max() <= 1), "float pixels are from 0 to 1")
    law(bool(len(images.train) and len(images.test)), "there are training and test images")


def _check_splits(data: DataConfig, images: Images, root: Path | None) -> None:
    """Check the positions of the images of each split in the official order."""
    count = len(read_images(data, root))
    found = positions_of(data, count, root)
    places = np.concatenate([getattr(found, split) for split in SPLITS])
    law(len(np.unique(places)) == len(places), "splits are disjoint")
    law(bool((places >= 0).all() and (places < count).all()), "splits consist of images of the data set")
    for split in SPLITS:
        law(len(getattr(found, split)) == len(getattr(images, split)), f"the {split} split has its images")


def _check_labels(labels: Labels, images: Images) -> None:
    names = labels.classes
    law(len(set(names)) == len(names) and all(isinstance(name, str) for name in names), "classes have names")
    for split in SPLITS:
        values = getattr(labels, split)
        law(values.dtype == np.int64 and values.ndim == 1, "labels are int64, [N]")
        law(len(values) == len(getattr(images, split)), "there is one label per image")
        law(bool((values >= 0).all() and (values < len(names)).all()), "labels are indices into the classes")
