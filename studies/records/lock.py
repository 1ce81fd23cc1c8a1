"""One driver owns a study: a lock on its folder, and a note of who holds it."""

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
from moevae.utils.io import absent, is_locked, remove_empty, remove_temp_files, write_atomically


class StudyLockedError(MoevaeError):
    """Another driver works on this study."""


_LOCK = "driver.lock"
_HOLDER = "driver.holder.lock"
_LOOK = 0.2
"""Seconds that another's look at the lock takes at most."""
_PATIENCE = 1.0
"""Seconds within which a driver that has just taken the lock will have written who it is."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Own the study in that folder, made if need be; if nothing is put into it, it is gone again afterwards.

    Raises:
        StudyLockedError: another driver owns it; the message says who.
        ConfigError: there can be no such folder.
    """
    made = absent(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot create this folder ({error.strerror})") from None
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_LOOK)  # a look by `holder` may be taking place
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
    """Return who owns the study, in words, or None if nobody does. Writes nothing."""
    try:
        with (folder / _LOCK).open("rb") as file:  # to read is enough, also where nothing can be written
            return _who(folder) if is_locked(file) else None
    except OSError:
        return None


def _who(folder: Path) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = content.parse_json(content.read(folder / _HOLDER))
            return f"process {note['pid']} on {note['host']}, since {note['since']},"
        time.sleep(0.02)
    return "another process"
