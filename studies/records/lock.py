"""The lock of a study: one driver at a time owns the folder."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from moevae.errors import ConfigError, MoevaeError
from moevae.utils import content
from moevae.utils.io import is_locked, missing_folders, remove_empty, remove_temp_files, write_atomically


class StudyLockedError(MoevaeError):
    """Raised when another driver owns the study."""


_LOCK = "driver.lock"
_HOLDER = "driver.holder.lock"
_PROBE_SECONDS = 0.2
"""Maximum time, in seconds, that `holder` holds the lock in another process."""
_HOLDER_SECONDS = 1.0
"""Seconds within which a driver that has acquired the lock writes its process ID and host."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a study. The folder is created if needed, and removed again if it stays empty.

    Args:
        folder: the folder of the study.

    Raises:
        StudyLockedError: another driver owns the study; the message names its process and host.
        ConfigError: the folder cannot be created, the file of the lock is a symbolic link, or `records` is
            not a folder.
    """
    made = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot create this folder ({error.strerror})") from None
    if (folder / _LOCK).is_symlink():  # locking would empty the file that it leads to
        raise ConfigError(f"{folder / _LOCK}: a symbolic link; expected a file of the study itself")
    if os.path.lexists(records := folder / "records") and not records.is_dir():
        raise ConfigError(f"{records}: not a folder; expected the folder of the records")
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PROBE_SECONDS)  # `holder` may be checking the lock
    except Timeout:
        raise StudyLockedError(
            f"{folder}: {_who(folder)} is working on this study: wait for it, or stop it"
        ) from None
    try:
        note = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomically(folder / _HOLDER, json.dumps(note).encode())
        for part in ("", "records", "checkpoints"):
            remove_temp_files(folder / part)
        yield
    finally:
        (folder / _HOLDER).unlink(missing_ok=True)
        if made and {path.name for path in folder.iterdir()} <= {_LOCK}:
            (folder / _LOCK).unlink(missing_ok=True)
            remove_empty(made)
        lock.release()


def holder(folder: Path) -> str | None:
    """Return a description of the process that owns the study, or None. Writes nothing."""
    try:
        with content.opened(folder / _LOCK) as file:  # reading is enough, and works on read-only file systems
            return _who(folder) if is_locked(file) else None
    except (OSError, ValueError):  # there is no such file, or it is not a regular one
        return None


def _who(folder: Path) -> str:
    deadline = time.monotonic() + _HOLDER_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = content.parse_json(content.read(folder / _HOLDER))
            return f"process {note['pid']} on {note['host']}, since {note['since']},"
        time.sleep(0.02)
    return "another process"
