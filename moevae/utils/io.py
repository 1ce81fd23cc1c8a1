"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from moevae.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, which does not remove a file that is open
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".moevae.tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it; folders are made.

    Raises:
        OSError: it could not be written, and what was there before stays; `filename` says which file.
    """
    # The name is short and unique: it fits beside a target of any length, and no other process has it.
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            _lock(file)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            temporary.replace(path)  # still locked, so that no sweep comes between
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a full disk names none, the temporary one puzzles
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def at_home(path: Path) -> Path:
    """Return the path with `~` at its beginning made the user's own folder.

    Raises:
        ConfigError: there is no such folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:  # neither HOME nor an entry of this user, as in a container
        raise ConfigError(f"{path}: the home folder is unknown; expected a path without ~") from None


def absent(folder: Path) -> list[Path]:
    """Return the folder and its parents as far as they are not there, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def remove_temp_files(folder: Path) -> None:
    """Remove the temporary files of `write_atomically` whose process was killed; those in use stay."""
    for path in folder.glob(f".{'?' * 16}{_TEMPORARY}"):
        with suppress(OSError), path.open("rb") as file:
            if _lock(file):
                path.unlink()


def is_locked(file: BinaryIO) -> bool:
    """Return whether somebody holds a lock on a file that is open for reading. Writes nothing."""
    try:
        if fcntl is None:
            file.read(1)  # Windows refuses to read what is locked
        else:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except (BlockingIOError, PermissionError):
        return True
    return False


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed or its process ends; return whether nobody else has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def why_unwritable(folder: Path) -> str | None:
    """Return what keeps files from being written there, folders made as needed; None if nothing does."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file; expected a folder"
    return None if os.access(nearest, os.W_OK) else f"{nearest} is not writable"
