"""A folder of image files as a data set: the names of its subfolders are labels, used for scoring only."""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moevae.config.schema import DataConfig
from moevae.data import pictures
from moevae.errors import DataError
from moevae.utils import content

MAX_NAMED = 5
"""Number of bad images that a message names."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Folder:
    """Images of a folder, in the order of their paths."""

    images: np.ndarray
    """Grayscale pixels, uint8, [N, H, W]."""
    files: tuple[str, ...]
    """Path of each image relative to the folder, with `/` between its parts; bytes that are not UTF-8 are
    surrogates, as `os` returns them."""
    bad: tuple[tuple[str, str], ...]
    """Path of each image that was skipped, and why."""


def read_images(path: Path, data: DataConfig) -> np.ndarray:
    """Return the images of a folder in the order of their paths.

    Args:
        path: the folder.
        data: data configuration; `image_size` and `bad_images` are read.

    Returns:
        Gray values, as from `read`. Skipped images are named in a warning.

    Raises:
        DataError: as for `read`.
    """
    found = read(path, data.image_size, data.bad_images)
    if found.bad:
        warnings.warn(f"folder:{path}: skipped {described(found.bad)} of {_total(found)}", stacklevel=2)
    return found.images


def read_labels(path: Path, data: DataConfig) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the first subfolder of each image as its label, and the names of these folders.

    Args:
        path: the folder.
        data: data configuration; `image_size` and `bad_images` are read.

    Returns:
        Indices into the names, [N] int64, and the names; None if an image is in no subfolder.

    Raises:
        DataError: as for `read`.
    """
    files = read(path, data.image_size, data.bad_images).files
    if not all("/" in name for name in files):
        return None
    names, indices = np.unique([text(name.partition("/")[0]) for name in files], return_inverse=True)
    return indices.astype(np.int64), tuple(map(str, names))


def read(path: Path, size: int | Size | None, bad: str) -> Folder:
    """Read all PNG, JPEG, BMP and TIFF files of a folder and its subfolders.

    Other files, and files and folders whose names begin with a dot, are ignored. `moevae.data.pictures`
    describes the conversion of color, rotation and size.

    Args:
        path: the folder.
        size: height and width of the result, or the side of a square; None requires images of one size.
        bad: `refuse` or `skip` images that cannot be read.

    Raises:
        DataError: the folder is missing, has no images, has images of several sizes and `size` is None, or
            has bad images and they are not skipped; or the images do not fit into memory.
    """
    root = path.expanduser()
    if not root.is_dir():
        raise DataError(f"folder:{path}: expected a folder ({root.absolute()})")
    with content.parsing(f"folder:{path}: cannot be read", DataError):
        signature = tuple(_signature(root, name) for name in _files(root))
    size = (size, size) if isinstance(size, int) else size
    return _read(str(path), root.absolute(), size, bad, signature)


@functools.lru_cache(maxsize=1)
def _read(
    path: str, root: Path, size: Size | None, bad: str, signature: tuple[tuple[str, int, int], ...]
) -> Folder:
    """Read the files of a signature, cached for the next call, which reads labels."""
    what = f"folder:{path}"
    if not signature:
        raise DataError(f"{what}: no images; expected files named {', '.join(pictures.SUFFIXES)}")
    images: np.ndarray | None = None
    files: list[str] = []
    faults: list[tuple[str, str]] = []
    sizes: dict[Size, str] = {}
    for name, _, _ in signature:
        try:
            _check_place(root, name)
            pixels = pictures.read(root / name)
        except DataError as error:
            faults.append((name, str(error)))
            continue
        sizes.setdefault(pixels.shape if size is None else size, name)
        if len(sizes) > 1:
            (first, one), (second, other) = list(sizes.items())[:2]
            raise DataError(
                f"{what}: {one} has {first[0]} x {first[1]} pixels, {other} {second[0]} x {second[1]};"
                " expected images of one size, or data.image_size, such as 28, to which they are resized"
            )
        shape = next(iter(sizes))
        if images is None:
            images = _allocated(what, len(signature), shape)
        images[len(files)] = pictures.resized(pixels, shape)
        files.append(name)
    if faults and (bad == "refuse" or images is None):
        hint = (
            "no image is left"
            if bad == "skip"
            else "--on-bad-image skip (data.bad_images=skip) leaves them out"
        )
        raise DataError(f"{what}: cannot use {described(faults)} of {len(signature):,}; {hint}")
    assert images is not None
    images = images[: len(files)]
    images.setflags(write=False)
    return Folder(images, tuple(files), tuple(faults))


def _files(root: Path) -> list[str]:
    """Return the relative paths of all image files and of links to folders elsewhere, sorted."""
    found = []

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=fail):
        inner = Path(folder).relative_to(root)
        outward = [name for name in folders if _leads_out(root, Path(folder) / name)]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in files if Path(name).suffix.lower() in pictures.SUFFIXES]
        found += [(inner / name).as_posix() for name in (*names, *outward) if not name.startswith(".")]
    return sorted(found)


def _signature(root: Path, name: str) -> tuple[str, int, int]:
    """Return the path, size and modification time of a file."""
    try:
        state = (root / name).stat()
    except OSError:  # such as a broken link
        return name, -1, -1
    return name, state.st_size, state.st_mtime_ns


def _check_place(root: Path, name: str) -> None:
    """Check that a file is not a link that leads out of the folder.

    Raises:
        DataError: it is such a link.
    """
    if _leads_out(root, root / name):
        raise DataError("a link that leads out of the folder")


def _leads_out(root: Path, path: Path) -> bool:
    try:
        return path.is_symlink() and not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return True


def _allocated(what: str, count: int, shape: Size) -> np.ndarray:
    """Return an array for images, after a check that it fits into memory."""
    size, free = count * shape[0] * shape[1], content.available_memory()
    if 2 * size > free:  # the images and their split copies
        raise DataError(
            f"{what}: {count:,} images of {shape[0]} x {shape[1]} pixels have {size:,} bytes;"
            f" {free:,} bytes of memory are available"
        )
    return np.empty((count, *shape), np.uint8)


def described(bad: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    """Return the number, the names and the faults of bad images.

    Args:
        bad: name and fault of each image.
    """
    named = ", ".join(f"{content.shortened(name)} ({fault})" for name, fault in bad[:MAX_NAMED])
    more = f", and {len(bad) - MAX_NAMED:,} more" if len(bad) > MAX_NAMED else ""
    return f"{len(bad):,} images ({named}{more})" if len(bad) > 1 else f"the image {named}"


def _total(found: Folder) -> str:
    return f"{len(found.files) + len(found.bad):,}"


def text(name: str) -> str:
    """Return the name of a file with all that is not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
