"""Images to assign with a trained run: an image file, a folder of image files, or an npz or npy file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moevae.data import folder, npz, pictures
from moevae.errors import DataError


@dataclass(frozen=True)
class Inputs:
    """Images at the size of a run, and the source of each image."""

    images: np.ndarray
    """Stored pixels, uint8 or float32 in [0, 1], [N, D]."""
    names: tuple[str, ...]
    """Path of each image relative to its folder, or its index in an array; always valid text."""
    paths: tuple[Path, ...]
    """File of each image; empty if the images come from an array."""
    bad: tuple[tuple[str, str], ...] = ()
    """Name of each image that was skipped, and why."""


def read(path: Path, size: tuple[int, int], bad: str = "refuse") -> Inputs:
    """Read images and bring them to the size of a run.

    `moevae.data.pictures` has the rule for color, rotation and size. Arrays have the form of `images` in an
    npz file; the images of `test_images` follow those of `images`.

    Args:
        path: a folder, or a file named .npz, .npy, or like an image.
        size: height and width of the run's images, in pixels.
        bad: `refuse` or `skip` image files of a folder that cannot be read.

    Raises:
        DataError: the path is missing or of no known kind, the images cannot be read, or they are files and
            the images of the run were flat.
    """
    suffix = path.suffix.lower()
    if 1 in size and (path.is_dir() or suffix in pictures.SUFFIXES):
        raise DataError(
            f"{path}: expected a file named .npz or .npy with an array [N, {math.prod(size)}], because the"
            " images of the run were flat"
        )
    if path.is_dir():
        found = folder.read(path, size, bad)
        names = tuple(map(folder.text, found.files))
        skipped = tuple((folder.text(name), fault) for name, fault in found.bad)
        images = found.images.reshape(len(names), -1)
        return Inputs(images, names, tuple(path / name for name in found.files), skipped)
    if suffix in pictures.SUFFIXES:
        try:
            pixels = pictures.resized(pictures.read(path), size)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        return Inputs(pixels.reshape(1, -1), (folder.text(path.name),), (path,))
    readers = {".npz": npz.read_images, ".npy": npz.read_array}
    if suffix not in readers:
        state = "expected" if path.exists() else "not found; expected"
        raise DataError(
            f"{path}: {state} a folder of images, or a file named .npz, .npy, {', '.join(pictures.SUFFIXES)}"
        )
    images = _sized(path, readers[suffix](path), size)
    return Inputs(images, tuple(map(str, range(len(images)))), ())


def _sized(path: Path, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an array of images at a size, [N, D].

    Raises:
        DataError: flat images have another number of pixels and are not squares.
    """
    height, width = size
    if images.shape[1:] in ((height, width), (height * width,)):
        return images.reshape(len(images), -1)
    if images.ndim == 2:
        side = math.isqrt(images.shape[1])
        if side * side != images.shape[1] or side < 2:
            raise DataError(
                f"{path}: images of {images.shape[1]} pixels; the run has {height} x {width}, and flat images"
                " are resized only if they are squares"
            )
        images = images.reshape(-1, side, side)
    if 1 in size:
        raise DataError(
            f"{path}: images of {images.shape[1]} x {images.shape[2]} pixels; expected [N, {height * width}]"
            " like those of the run, which were flat"
        )
    return np.stack([pictures.resized(each, size).ravel() for each in images])
