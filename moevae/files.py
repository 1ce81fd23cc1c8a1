"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it; folders are made.

    Raises:
        OSError: it could not be written, and what was there before stays; `filename` says which file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk names none, and the temporary one would puzzle
        raise
    finally:
        temporary.unlink(missing_ok=True)


def absent(folder: Path) -> list[Path]:
    """Return the folder and its parents as far as they are not there, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written in a folder."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def obstacle(folder: Path) -> str | None:
    """Return what keeps files from being written there, folders made as needed; None if nothing does."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file, and a folder is needed"
    return None if os.access(nearest, os.W_OK) else f"{nearest} cannot be written to"
