"""Images in memory: the form of an array, and the values that mean black and white."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moevae.data.npz import AMBIGUOUS_MAX

WHITE = 255
"""White of uint8 images."""


@dataclass(frozen=True)
class PixelScale:
    """The values of black and white in the training images, and how the values of other images are read."""

    low: float
    """Black."""
    high: float
    """White."""
    by_type: bool = False
    """Whether the training images were uint8 of 0..255, or floats in [0, 1]. Then the type of an array
    determines its scale: uint8 has 0..255, floats have [0, 1], and other integers the training scale."""

    @classmethod
    def of(cls, images: np.ndarray) -> PixelScale:
        """Infer the scale of training images.

        The scale is 0..255 for uint8 images with a value above `moevae.data.npz.AMBIGUOUS_MAX`, and [0, 1]
        for floats in [0, 1]. For other numbers it is their minimum and maximum.

        Args:
            images: images of any numbers, [N, D].
        """
        low, high = float(images.min()), float(images.max())
        if images.dtype == np.uint8 and high > AMBIGUOUS_MAX:
            return cls(0.0, float(WHITE), by_type=True)
        if images.dtype.kind in "fb" and low >= 0 and high <= 1:
            return cls(0.0, 1.0, by_type=True)
        return cls(low, high if high > low else low + 1)

    def stored(self, images: np.ndarray) -> Tensor:
        """Return images as `moevae.Images` stores them: uint8 of 0..255, or float32 in [0, 1].

        Values below black become black, and values above white become white. A warning is given where the
        values probably have other units than the training images.

        Args:
            images: images of any numbers, [N, D].

        Raises:
            ValueError: the training images were uint8, and these are floats outside [0, 1].
        """
        low, high = self._values(images.dtype)
        least, most = (images.min(), images.max()) if images.size else (low, high)
        if images.dtype == np.uint8 and self.high == 1 and self.by_type and 0 < most <= AMBIGUOUS_MAX:
            warnings.warn(
                f"X is uint8 with a maximum of {most}, and uint8 means 0..255; the model was fitted to values"
                " in [0, 1]: expected floats or bools for such values",
                stacklevel=5,
            )
        if images.dtype == np.uint8 and (low, high) == (0, WHITE):
            return torch.from_numpy(np.array(images, order="C"))  # a copy: the array may be read-only
        if self.high != high and not (least >= 0 and most <= 1):
            raise ValueError(
                f"X contains floats from {least:g} to {most:g}, and the model was fitted to uint8 of 0..255;"
                " expected integers of 0..255, or floats in [0, 1]"
            )
        if not (least >= 2 * low - high and most <= 2 * high - low):
            warnings.warn(
                f"X ranges from {least:g} to {most:g}, and the model was fitted to black = {low:g} and white"
                f" = {high:g}; values outside become black or white",
                stacklevel=5,
            )
        shares = (images.astype(np.float64) - low) / (high - low)
        return torch.from_numpy(shares.clip(0, 1).astype(np.float32, order="C"))

    def restored(self, shares: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
        """Return images in the units of a user's array.

        Args:
            shares: images with values in [0, 1].
            dtype: type of the array whose units are wanted; None means the training images.
        """
        low, high = (self.low, self.high) if dtype is None else self._values(dtype)
        return low + (high - low) * shares

    def _values(self, dtype: np.dtype) -> tuple[float, float]:
        """Return the values of black and white in an array of some type."""
        if dtype.kind == "b":
            return 0.0, 1.0
        if not self.by_type:
            return self.low, self.high
        as_bytes = dtype == np.uint8 or (self.high == WHITE and dtype.kind in "iu")
        return 0.0, float(WHITE) if as_bytes else 1.0


def checked_range(value_range: object) -> PixelScale:
    """Return the scale with the given values of black and white.

    Args:
        value_range: the values of black and white, in this order.

    Raises:
        ValueError: they are not two finite numbers, the smaller one first.
    """
    try:
        low, high = map(float, value_range)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(
            f"value_range = {value_range!r}; expected None or two numbers, black and white, such as (0, 16)"
        )
    return PixelScale(low, high)


def flattened(images: np.ndarray) -> tuple[np.ndarray, tuple[int, int] | None]:
    """Return images as rows of pixels, and their height and width; None for images that are rows already.

    Args:
        images: [N, D], [N, H, W] or [N, H, W, 1].

    Raises:
        ValueError: the array has another form.
    """
    shape = images.shape
    if images.ndim < 3:
        return images, None
    if images.ndim == 4 and 1 in (shape[1], shape[3]):
        if shape[3] != 1:
            raise ValueError(
                f"X has shape {shape}, with the channel before the pixels; expected [N, H, W, 1] or"
                " [N, H, W], such as X[:, 0]"
            )
        shape = shape[:3]
    if len(shape) != 3:
        raise ValueError(
            f"X has shape {shape}; expected grayscale images, [N, D], [N, H, W] or [N, H, W, 1] (the mean"
            " over the channels of color images, X.mean(-1), is one way to get them)"
        )
    return images.reshape(shape[0], shape[1] * shape[2]), (shape[1], shape[2])
