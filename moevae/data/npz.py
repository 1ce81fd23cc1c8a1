"""Images of the user: an npz file with `images` and the optional arrays of `KEYS`."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from moevae.data import archive
from moevae.data.archive import Archive
from moevae.errors import DataError
from moevae.utils import content

KEYS = ("images", "labels", "test_images", "test_labels", "class_names", "value_range")
"""Names of the arrays that a file may contain:

- `images` [N, H, W] or [N, D]: uint8 of 0..255, float in [0, 1], or any numbers with a `value_range`;
- `labels` [N]: integers or strings;
- `test_images`, `test_labels`: the test set, in the same form; the default is one fifth of the images;
- `class_names` [C]: strings, the name of each integer label from 0 to C - 1;
- `value_range` [2]: the values that mean black and white, such as [0, 16].
"""

AMBIGUOUS_MAX = 16
"""Largest maximum of uint8 images for which a `value_range` is required, because the range is ambiguous."""

_EXPECTED_VALUES = "uint8 of 0..255, float in [0, 1], or other numbers with a value_range"
_BLOCK = 1 << 22
"""Number of pixels that are scaled at once."""


def read_images(path: Path) -> np.ndarray:
    """Return the images of an npz file in official order, `test_images` last.

    Args:
        path: the file; `KEYS` describes its content.

    Returns:
        Images, uint8 or float32 in [0, 1], [N, H, W] or [N, D].

    Raises:
        DataError: the file is missing or not an npz file, `images` is missing, or an array is unknown or has
            an unexpected form.
    """
    with _opened(path) as file:
        return _images(file)


def read_array(path: Path) -> np.ndarray:
    """Return the images of an npy file, which has the form of the array `images` of an npz file.

    Args:
        path: the file.

    Returns:
        Images, uint8 or float32 in [0, 1], [N, H, W] or [N, D].

    Raises:
        DataError: the file is missing or not an npy file, or the array has an unexpected form.
    """
    return _images(archive.BareArray(str(path), path, "images"))


def _images(file: Archive) -> np.ndarray:
    """Return the images of a file in official order."""
    names = _check_images(file)
    bounds = _value_range(file)
    parts = {name: file.read(name) for name in names}
    as_bytes = {part.dtype == np.uint8 for part in parts.values()} == {True} and bounds in (None, (0, 255))
    if as_bytes and bounds is None:
        _check_brightness(file, parts)
    if not as_bytes:
        parts = {name: _scaled(f"{file.what}: {name}", part, bounds) for name, part in parts.items()}
    return parts["images"] if len(parts) == 1 else np.concatenate(list(parts.values()))


def read_labels(path: Path) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the labels of an npz file in the order of `read_images`, and the names of the classes.

    Args:
        path: the file.

    Returns:
        Labels as indices into the names, [N] int64, and the names of the classes that have images. None if
        the file has no labels.

    Raises:
        DataError: the labels are not one integer or string per image, or the file is invalid.
    """
    with _opened(path) as file:
        counts = {name: file.headers[name].shape[0] for name in _check_images(file)}
        if "labels" not in file.headers:
            return None
        if "test_images" in counts and "test_labels" not in file.headers:
            raise DataError(f"{file.what}: images have labels, but test_images have no test_labels")
        pairs = {"images": "labels", "test_images": "test_labels"}
        parts = [_labels(file, pairs[name], count) for name, count in counts.items()]
        if len({part.dtype.kind == "U" for part in parts}) > 1:
            raise DataError(
                f"{file.what}: one of labels and test_labels contains strings, the other integers"
            )
        if len({part.dtype.kind for part in parts}) > 1:  # NumPy would convert int64 and uint64 to floats
            parts = [part.astype(object) for part in parts]
        found, indices = np.unique(np.concatenate(parts), return_inverse=True)
        return indices.reshape(-1).astype(np.int64), _names(file, found)


def test_count(path: Path) -> int | None:
    """Return the number of images in the test set of an npz file; None if it has none.

    Args:
        path: the file.

    Raises:
        DataError: the file is invalid.
    """
    with _opened(path) as file:
        return file.headers["test_images"].shape[0] if "test_images" in _check_images(file) else None


def _opened(path: Path) -> AbstractContextManager[Archive]:
    return archive.opened(path, f"npz:{path}", KEYS)


def _check_images(file: Archive) -> list[str]:
    """Check the arrays of images, and return their names."""
    if "images" not in file.headers:
        raise DataError(
            f"{file.what}: expected an array named images ([N, H, W] or [N, D], {_EXPECTED_VALUES})"
        )
    for name, needed in {"test_labels": "test_images", "class_names": "labels"}.items():
        if name in file.headers and needed not in file.headers:
            raise DataError(f"{file.what}: {name} needs {needed}")
    if "test_labels" in file.headers and "labels" not in file.headers:
        raise DataError(f"{file.what}: test_labels needs labels")
    names: list[str] = [name for name in ("images", "test_images") if name in file.headers]
    for name in names:
        _check_form(file, name)
    headers = [file.headers[name] for name in names]
    if len({(header.shape[1:], _kind(file, header.dtype)) for header in headers}) > 1:
        one, other = (f"shape {list(header.shape)}, {header.dtype}" for header in headers)
        raise DataError(f"{file.what}: images of {one}, but test_images of {other}; expected the same")
    return names


def _kind(file: Archive, dtype: np.dtype) -> str:
    """Return the kind of values that all images must share; with a value_range, any kinds may be mixed."""
    return "" if "value_range" in file.headers else "float" if dtype.kind == "f" else dtype.name


def _check_form(file: Archive, name: str) -> None:
    """Check the shape and the data type of images."""
    shape, dtype = file.headers[name].shape, file.headers[name].dtype
    what = f"{file.what}: {name} of shape {list(shape)}"
    if len(shape) not in (2, 3):
        raise DataError(f"{what} have {len(shape)} axes; expected [N, H, W] or [N, D]")
    if math.prod(shape) == 0:
        raise DataError(f"{what} are empty")
    if len(shape) == 3 and min(shape[1:]) == 1:
        raise DataError(f"{what} are 1 pixel wide or high; expected [N, H, W] of 2 or more, or flat: [N, D]")
    known = dtype == np.uint8 or dtype.kind == "f"
    if not known and not (dtype.kind in "iu" and "value_range" in file.headers):
        raise DataError(f"{what} have dtype {dtype}; expected {_EXPECTED_VALUES}")


def _value_range(file: Archive) -> tuple[float, float] | None:
    """Return the values of black and white; None if the file does not contain them."""
    if "value_range" not in file.headers:
        return None
    header = file.headers["value_range"]
    if header.shape == (2,) and header.dtype.kind in "fiu":
        low, high = map(float, file.read("value_range"))
        if low < high and math.isfinite(high - low):
            return low, high
    raise DataError(f"{file.what}: invalid value_range; expected two numbers, low and high, such as [0, 16]")


def _check_brightness(file: Archive, parts: dict[str, np.ndarray]) -> None:
    """Check that uint8 images use the range 0..255."""
    highest = max(int(part.max()) for part in parts.values())
    if highest <= AMBIGUOUS_MAX:
        raise DataError(
            f"{file.what}: images are uint8 with a maximum of {highest}, and uint8 means 0..255;"
            f" expected an array value_range, such as [0, {max(1, highest)}], or [0, 255]"
        )


def _scaled(what: str, images: np.ndarray, bounds: tuple[float, float] | None) -> np.ndarray:
    """Return images scaled to [0, 1], as float32."""
    low, high = bounds or (0.0, 1.0)
    lowest, highest = images.min(), images.max()  # both are NaN if any value is NaN
    if not (lowest >= low and highest <= high):
        found = "contain NaN" if np.isnan(lowest) else f"range from {lowest:g} to {highest:g}"
        expected = f"value_range, {low:g} to {high:g}" if bounds else _EXPECTED_VALUES
        raise DataError(f"{what} of shape {list(images.shape)} {found}; expected {expected}")
    if bounds is None:
        return images.astype(np.float32)
    scaled = np.empty(images.shape, np.float32)
    step = max(1, _BLOCK // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        scaled[part] = (images[part].astype(np.float64) - low) / (high - low)
    return scaled


def _labels(file: Archive, name: str, count: int) -> np.ndarray:
    """Return an array of labels, after a check of its shape and data type."""
    header = file.headers[name]
    if header.shape != (count,) or header.dtype.kind not in "biuU":
        raise DataError(
            f"{file.what}: {name} of shape {list(header.shape)} and dtype {header.dtype};"
            f" expected [{count}], integers or strings"
        )
    return file.read(name)


def _names(file: Archive, found: np.ndarray) -> tuple[str, ...]:
    """Return the name of each label that occurs."""
    if "class_names" not in file.headers:
        return _texts(file, "labels", found)
    header = file.headers["class_names"]
    if len(header.shape) != 1 or header.dtype.kind != "U":
        raise DataError(
            f"{file.what}: class_names of shape {list(header.shape)} and dtype {header.dtype};"
            " expected [C], strings"
        )
    if found.dtype.kind == "U":
        raise DataError(f"{file.what}: labels are strings; class_names needs integer labels")
    names = _texts(file, "class_names", file.read("class_names"))
    if len(set(names)) < len(names):
        raise DataError(f"{file.what}: class_names contains a name twice")
    if not (found.min() >= 0 and found.max() < len(names)):
        raise DataError(
            f"{file.what}: labels range from {found.min()} to {found.max()};"
            f" expected 0 to {len(names) - 1}, indices into class_names"
        )
    return tuple(names[int(label)] for label in found)


def _texts(file: Archive, name: str, values: np.ndarray) -> tuple[str, ...]:
    """Return values as text that can be encoded."""
    with content.parsing(f"{file.what}: {name} is not valid text", DataError):
        texts = tuple(str(value) for value in values)
        "".join(texts).encode()
        return texts
