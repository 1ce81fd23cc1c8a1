"""A user's own images: an npz file with `images` and, if there are any, `labels`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from moevae.errors import DataError
from moevae.files import at_home

_FORM = "uint8, or float in [0, 1]"
_BEGINNINGS = (b"PK", b"\x93N")
"""Of an npz file, and of one bare array."""


def read_images(path: Path) -> np.ndarray:
    """Return the images of an npz file.

    Args:
        path: the file; its `images` are [N, H, W] or [N, D], uint8 or float in [0, 1].

    Returns:
        images [N, H, W] (or [N, D]), uint8 or float32.

    Raises:
        DataError: no such file, not an npz, no `images`, or images of another form.
    """
    images = _read(path, "images")
    if images is None:
        raise DataError(f"npz:{path}: has no array named images ([N, H, W] or [N, D], {_FORM})")
    what = f"npz:{path}: images of shape {list(images.shape)}"
    if images.ndim not in (2, 3):
        raise DataError(f"{what} have {images.ndim} axes; right would be [N, H, W] or [N, D]")
    if images.size == 0:
        raise DataError(f"{what} are empty")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise DataError(f"{what} have dtype {images.dtype}; right would be {_FORM}")
    lowest, highest = images.min(), images.max()  # NaN, if there is one, is both
    if not (lowest >= 0 and highest <= 1):
        found = "hold NaN" if np.isnan(lowest) else f"range from {lowest:g} to {highest:g}"
        raise DataError(f"{what} {found}; right would be {_FORM}")
    return images.astype(np.float32)


def read_labels(path: Path) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the labels [N] as int64 indices into the class names, and these; None where there are none.

    Raises:
        DataError: labels that are not one integer or string an image, or an unusable file.
    """
    labels = _read(path, "labels")
    if labels is None:
        return None
    count = len(read_images(path))
    if labels.shape != (count,) or labels.dtype.kind not in "biuU":
        raise DataError(
            f"npz:{path}: labels of shape {list(labels.shape)} and dtype {labels.dtype};"
            f" right would be [{count}], integers or strings"
        )
    names, indices = np.unique(labels, return_inverse=True)
    return indices.astype(np.int64), tuple(str(name) for name in names)


def _read(path: Path, name: str) -> np.ndarray | None:
    """Return one array of the file, or None where it has none of that name."""
    try:
        with at_home(path).open("rb") as file:  # np.load leaves a broken file open
            if file.read(2) not in _BEGINNINGS:  # NumPy would take it for a pickle, and advise to load that
                raise DataError(
                    f"npz:{path}: not a whole npz file; right would be np.savez(path, images=...)"
                )
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(
                    f"npz:{path}: holds one bare array; right would be np.savez(path, images=...)"
                )
            with archive:
                return archive[name] if name in archive.files else None
    except FileNotFoundError:
        raise DataError(f"npz:{path}: no such file (looked for {at_home(path).absolute()})") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"npz:{path}: not a whole npz file of plain arrays ({error})") from None
