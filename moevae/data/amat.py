"""Binary images in the files of Larochelle and Murray (2011): one line of zeros and ones for each image.

References:
    Larochelle, Murray (2011), the neural autoregressive distribution estimator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moevae.errors import DataError
from moevae.utils import content

FILES = ("binarized_mnist_train.amat", "binarized_mnist_valid.amat", "binarized_mnist_test.amat")
"""Files of a folder; the images of the last one are the test set."""

_LIMIT = 1 << 27
"""Largest file, in bytes; the largest official file has 78 MB."""


def read_images(path: Path) -> np.ndarray:
    """Return the images of the three files in their order.

    Args:
        path: a folder with `FILES`.

    Returns:
        Images, 0 or 255, [N, D] uint8.

    Raises:
        DataError: a file is missing, or is not a table of zeros and ones with as many columns as the others.
    """
    parts = [_read(path / name) for name in FILES]
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        found = ", ".join(map(str, sorted(widths)))
        raise DataError(f"amat:{path}: the files have lines of {found} pixels; expected one number")
    return np.concatenate(parts)


def test_count(path: Path) -> int:
    """Return the number of test images.

    Args:
        path: a folder with `FILES`.

    Raises:
        DataError: as for `read_images`.
    """
    return len(_read(path / FILES[-1]))


def _read(file: Path) -> np.ndarray:
    """Return the images of one file, [N, D]."""
    try:
        text = np.frombuffer(content.read(file, _LIMIT).rstrip() + b"\n", np.uint8)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"amat:{file.parent}: {file.name}: {str(reason).lower()}; expected the files {', '.join(FILES)}"
        ) from None
    pixel = (text == ord("0")) | (text == ord("1"))
    starts = np.concatenate([[0], np.flatnonzero(text == ord("\n"))[:-1] + 1])
    widths = np.add.reduceat(pixel, starts, dtype=np.int64)
    other = ~pixel & ~np.isin(text, np.frombuffer(b" \t\r\n", np.uint8))
    wrong = (widths != max(1, widths[0])) | np.logical_or.reduceat(other, starts)
    if wrong.any():
        raise DataError(
            f"amat:{file.parent}: {file.name}, line {1 + wrong.argmax()}: expected zeros and ones, as many "
            "as in the other lines"
        )
    return (text[pixel] - ord("0")).reshape(-1, widths[0]) * np.uint8(255)
