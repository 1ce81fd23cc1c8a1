"""MNIST and Fashion-MNIST from IDX files, downloaded on first use and verified on every read."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from moevae.config.registry import RELEASES
from moevae.data.releases import File
from moevae.errors import ConfigError, DataError
from moevae.utils.content import read
from moevae.utils.io import expand_home, missing_folders, remove_empty

_SIDE = 28
LIMIT = 1 << 26
"""Largest file, in bytes; the largest official file has 47 MB."""
_TIMEOUT = 30.0
"""Timeout of connections, in seconds; torchvision sets none."""

_log = logging.getLogger(__name__)
_NAME_ONE = "set the folder with --data-root or MOEVAE_DATA"
_HELP = f"copy the official files there, or {_NAME_ONE}"


def data_root(root: Path | None = None) -> Path:
    """Return the folder of data sets.

    Args:
        root: the folder; by default that in MOEVAE_DATA, otherwise the cache folder of the user.

    Raises:
        ConfigError: a path begins with `~`, and the home folder is unknown.
        DataError: no folder is given, and the home folder is unknown.
    """
    if root is not None:
        return expand_home(root)
    named = os.environ.get("MOEVAE_DATA")
    if named:
        return expand_home(Path(named))
    try:
        return expand_home(user_cache_path("moevae", appauthor=False))
    except (RuntimeError, ConfigError):
        raise DataError(f"no folder for data sets because the home folder is unknown; {_NAME_ONE}") from None


def is_available(name: str, root: Path | None = None) -> bool:
    """Return whether all files of MNIST or Fashion-MNIST exist; their content is not checked.

    Args:
        name: name of the data set.
        root: folder of data sets; by default that of `data_root`.
    """
    release = RELEASES[name]
    folder = data_root(root) / release.folder / "raw"
    return all(_present(folder, file) for file in (*release.images, *release.labels))


def read_images(name: str, root: Path | None = None) -> np.ndarray:
    """Return all images in official order, first training, then test.

    Args:
        name: `mnist` or `fashion-mnist`.
        root: folder of data sets, as for `data_root`.

    Returns:
        Images, [70000, 28, 28] uint8.

    Raises:
        DataError: a file is corrupt, or it is missing and the download failed.
    """
    parts = _read(name, RELEASES[name].images, data_root(root), header=16)
    return np.concatenate(parts).reshape(-1, _SIDE, _SIDE)


def read_labels(name: str, root: Path | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return all labels in the order of `read_images`, and the names of the classes.

    Args:
        name: `mnist` or `fashion-mnist`.
        root: folder of data sets, as for `data_root`.

    Returns:
        Labels, [70000] int64, and names.

    Raises:
        DataError: a file is corrupt, or it is missing and the download failed.
    """
    release = RELEASES[name]
    parts = _read(name, release.labels, data_root(root), header=8)
    return np.concatenate(parts).astype(np.int64), release.classes


def _read(name: str, files: tuple[File, ...], root: Path, header: int) -> list[np.ndarray]:
    folder = root / RELEASES[name].folder / "raw"
    try:
        if not all(_present(folder, file) for file in files):
            _download_missing(name, root)
        return [np.frombuffer(_content(folder, file), np.uint8, offset=header) for file in files]
    except (OSError, ValueError) as error:
        raise DataError(f"data set {name}: cannot read {folder} ({error}); {_HELP}") from None


def _present(folder: Path, file: File) -> bool:
    return (folder / file.name).is_file() or (folder / f"{file.name}.gz").is_file()


def _content(folder: Path, file: File) -> bytes:
    """Return the extracted content of an official file, from the extracted or the compressed file."""
    extracted = folder / file.name
    if extracted.is_file():
        content = read(extracted, LIMIT)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            fault = (
                f"{len(content)} bytes; expected {file.length}" if len(content) != file.length else "modified"
            )
            raise _broken(extracted, f"wrong sha256, {fault}")
        return content
    packed = folder / f"{file.name}.gz"
    content = read(packed, LIMIT)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
        fault = "truncated or modified" if content.startswith(b"\x1f\x8b") else "not a gzip file"
        if content.lstrip()[:1] == b"<":
            fault = "an HTML page, not a gzip file"
        raise _broken(packed, f"wrong md5, {fault}")
    return gzip.decompress(content)


def _broken(path: Path, fault: str) -> DataError:
    return DataError(f"{path} is not the official file ({fault}); delete it to download it again")


def _download_missing(name: str, root: Path) -> None:
    """Download missing files into a temporary folder, then move the verified files to their final place."""
    made, lock = missing_folders(root), root / f".{RELEASES[name].folder}.lock"
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            _fetch(name, root)
    except BaseException:
        if made:
            lock.unlink(missing_ok=True)
            remove_empty(made)
        raise


def _fetch(name: str, root: Path) -> None:
    release, folder = RELEASES[name], root / RELEASES[name].folder / "raw"
    missing = [file for file in (*release.images, *release.labels) if not _present(folder, file)]
    if not missing:  # another process has downloaded them
        return
    _log.warning("data set %s: downloading its files into %s", name, folder)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{release.folder}-") as staging:
        try:
            _download(release.folder, staging)
        except (RuntimeError, OSError, EOFError, http.client.HTTPException) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise DataError(
                f"data set {name}: {missing[0].name} is not in {folder}, "
                f"and the download failed ({reason}); {_HELP}"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        for file in missing:
            for form in (f"{file.name}.gz", file.name):
                (Path(staging) / release.folder / "raw" / form).replace(folder / form)


def _download(folder: str, staging: str) -> None:
    from torchvision import datasets  # slow to import, and needed for a download only

    dataset: Any = getattr(datasets, folder)
    with _socket_timeout(_TIMEOUT):
        dataset(staging, download=True)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the default timeout of connections within the context."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
