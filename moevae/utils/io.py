"""Atomic writing of files, locks, and paths."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from moevae.errors import ConfigError
from moevae.utils.content import opened

try:
    import fcntl
except ImportError:  # Windows does not remove an open file
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".moevae.tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically; readers and crashes never see a partial file. Missing folders are created.

    Args:
        path: the file.
        content: its content.

    Raises:
        OSError: the file cannot be written; its `filename` is the path. The previous file is kept.
    """
    # The name is short and unique: it is valid for a path of any length, and no other process uses it.
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        _make_folder(path.parent)
        with temporary.open("xb") as file:
            _lock(file)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            temporary.replace(path)  # still locked, so that `remove_temp_files` keeps it
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # instead of the temporary file, or none
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder with its parents; a file or a broken link in its place is no folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of an npz file.

    Args:
        arrays: arrays by name; no name may be `file`.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def expand_home(path: Path) -> Path:
    """Replace `~` at the beginning of a path by the home folder.

    Args:
        path: the path.

    Raises:
        ConfigError: the home folder is unknown.
    """
    try:
        return path.expanduser()
    except RuntimeError:  # neither HOME nor an entry of this user, as in a container
        raise ConfigError(f"{path}: the home folder is unknown; expected a path without ~") from None


def missing_folders(folder: Path) -> list[Path]:
    """Return the folders, among a folder and its parents, that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the folders that are empty, in the given order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def remove_temp_files(folder: Path) -> None:
    """Remove the temporary files that killed processes left; keep those in use.

    Args:
        folder: folder into which `write_atomically` wrote.
    """
    for path in folder.glob(f".{'?' * 16}{_TEMPORARY}"):
        with suppress(OSError, ValueError), opened(path) as file:
            if _lock(file):
                path.unlink()


def is_locked(file: BinaryIO) -> bool:
    """Return whether another process holds a lock on a file. Nothing is written to the file.

    Args:
        file: the file, open for reading.
    """
    try:
        if fcntl is None:
            file.read(1)  # Windows does not read a locked file
        else:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except (BlockingIOError, PermissionError):
        return True
    return False


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return False if another process has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def why_unwritable(folder: Path) -> str | None:
    """Return why files cannot be written to a folder; None if they can.

    Args:
        folder: the folder, which may not exist yet.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file; expected a folder"
    return None if os.access(nearest, os.W_OK) else f"{nearest} is not writable"
