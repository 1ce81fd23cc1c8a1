"""Image files as grayscale pixels: conversion of color, rotation and size, with limits on file size.

The picture is rotated by its EXIF orientation, transparent parts become black, colors are converted to
the luma of ITU-R 601, and 16-bit values are divided by 257. To change the size, the picture is cropped about
its center to the new ratio of the sides, and resized by an antialiased bilinear filter.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from moevae.errors import DataError
from moevae.utils import content

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of the names of image files, in lower case."""

MAX_PIXELS = 50_000_000
"""Largest number of pixels of a picture."""
MAX_BYTES = 1 << 28
"""Largest image file, in bytes."""

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_WORD = 65_535
"""Largest 16-bit value."""


def read(path: Path) -> np.ndarray:
    """Return the grayscale pixels of an image file.

    Args:
        path: a PNG, JPEG, BMP or TIFF file.

    Returns:
        Pixels, uint8, [H, W].

    Raises:
        DataError: the file is missing, broken, too large, not a regular file, or has several pictures; the
            message does not contain the path.
    """
    with (
        content.parsing("not a readable image", DataError),
        warnings.catch_warnings(action="ignore"),  # Pillow warns about odd metadata
        content.opened(path) as file,
    ):
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{size:,} bytes; expected at most {MAX_BYTES:,}")
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.UnidentifiedImageError:
            raise DataError(f"not an image; expected {', '.join(_FORMATS)}") from None
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{image.width} x {image.height} pixels; expected at most {MAX_PIXELS:,} in all"
                )
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":  # cameras add previews to the one picture
                raise DataError(f"{frames} pictures in one file; expected one")
            return np.array(_gray(ImageOps.exif_transpose(image)))


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture cropped about its center and resized; one that has the size is returned unchanged.

    Args:
        pixels: uint8, or float32 in [0, 1], [H, W].
        size: height and width, in pixels.

    Returns:
        Pixels of the same type, [height, width].
    """
    if pixels.shape == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))  # of mode L or F
    fitted = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    found = np.array(fitted)
    return found if found.dtype == np.uint8 else found.clip(0, 1)


def _gray(image: Image.Image) -> Image.Image:
    """Return a picture of mode L.

    Raises:
        DataError: its values are outside the range of its format.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        low, high = (0.0, 1.0) if image.mode == "F" else (0.0, float(_WORD))
        if not (values.min() >= low and values.max() <= high):  # also NaN
            raise DataError(f"values from {values.min():g} to {values.max():g}; expected {low:g} to {high:g}")
        return Image.fromarray(np.round(values * (255 / high)).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        solid = image.convert("RGBA")
        black = Image.new("RGBA", solid.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, solid).convert("L")
    if image.mode in ("P", "CMYK", "YCbCr", "LAB"):
        image = image.convert("RGB")
    return image.convert("L")
