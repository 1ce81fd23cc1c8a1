"""Opening of Optuna's storage: a SQLite file in the folder of a study, a journal file, or a server."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from moevae.errors import MoevaeError
from moevae.utils import redaction
from moevae.utils.suggest import is_text
from studies.utils import signals

T = TypeVar("T")

VARIABLE = "MOEVAE_STORAGE"
"""Environment variable with the URL of the storage, used without the option; safer for passwords."""

RETRY_SECONDS = 60.0
"""Timeout, in seconds, for a storage that is not available while a study runs."""

_CREATE_ATTEMPTS = 5
"""Number of attempts to open tables that another process is creating."""
_CONNECT_SECONDS = 15
"""Timeout, in seconds, for a new connection to a database server."""
FILES = ("study.db", "study.db-wal", "study.db-shm", "study.db-journal")
"""The SQLite file in the folder of a study, and the auxiliary files of SQLite."""

_KEPT = "no record is lost, and the next start updates the storage from the records"
_log = logging.getLogger(__name__)


class StorageError(MoevaeError):
    """Raised when a storage cannot be opened, or holds the study of another folder."""


def with_retries(operation: Callable[[], T]) -> T:
    """Run an operation, and retry it for a minute while the storage is not available.

    Args:
        operation: a function that can safely be repeated.

    Raises:
        StorageError: the storage remained unavailable, or the study in it was deleted.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    pause = 0.1
    while True:
        try:
            return operation()
        except KeyError as error:
            raise StorageError(f"the study is missing from the storage ({error}): {_KEPT}") from error
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            reason = _reason(error)
            if time.monotonic() + pause > deadline:
                raise StorageError(f"the storage is not available ({reason}): {_KEPT}") from error
            _log.warning("the storage is not available (%s); retrying", reason)
        with signals.deliver_signals():
            time.sleep(pause)
        pause = min(2 * pause, 5.0)


def default_url(folder: Path) -> str:
    """Return the absolute URL of the SQLite file in the folder of a study.

    Args:
        folder: the folder of the study.

    Raises:
        StorageError: the path is not UTF-8.
    """
    database = os.path.realpath(folder / FILES[0])  # unlike `resolve`, accepts a link to itself
    if not is_text(database):
        raise StorageError(f"{database!a}: the path is not UTF-8; expected a UTF-8 path, or --storage URL")
    return URL.create("sqlite", database=database).render_as_string(hide_password=False)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Provide a temporary folder with a copy of the SQLite file, because opening a file may modify it.

    Args:
        folder: the folder of the study.

    Raises:
        StorageError: the file cannot be read.
    """
    with tempfile.TemporaryDirectory() as name:
        try:
            for file in FILES:
                if (folder / file).exists():
                    shutil.copyfile(folder / file, Path(name) / file)
        except OSError as error:
            raise StorageError(
                f"{folder / FILES[0]}: cannot be copied to {name} ({error.strerror})"
            ) from None
        yield Path(name)


def given(typed: str | None) -> str | None:
    """Return the URL of the storage that the user chose; None if there is none.

    Args:
        typed: value of `--storage`; without it, the environment variable is read.
    """
    url = typed or os.environ.get(VARIABLE) or None
    if url:
        redaction.register_secret(url)
    return url


def check(url: str) -> None:
    """Check that the kind of storage is known, before anything is written.

    Args:
        url: URL of the storage.

    Raises:
        StorageError: the kind is unknown; the message lists the valid kinds.
    """
    scheme, _, place = url.partition("://")
    if scheme == "journal" and place:
        return
    try:
        make_url(url).get_dialect()
    except (SQLAlchemyError, ValueError):
        raise StorageError(
            f"--storage {_shown(url)}: unknown kind of storage; expected sqlite:///PATH, journal:///PATH or "
            "postgresql+psycopg://HOST/DATABASE"
        ) from None


@contextmanager
def opened(url: str) -> Iterator[BaseStorage]:
    """Open a storage.

    Args:
        url: `sqlite:///PATH`, `journal:///PATH` or `postgresql+psycopg://...`.

    Raises:
        StorageError: the storage cannot be opened; the message gives the reason.
    """
    with _quiet(), _opened(url) as storage:
        yield storage


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna log errors only, within this block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _opened(url: str) -> Iterator[BaseStorage]:
    scheme, _, place = url.partition("://")
    if scheme == "journal":
        try:
            journal = JournalStorage(JournalFileBackend(place))
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(f"--storage {url}: {_reason(error)}{_hint(error)}") from None
        yield journal
        return
    try:
        storage = _tables(url, _engine_options(url))
    except (ImportError, RuntimeError, AssertionError, StorageInternalError, SQLAlchemyError) as error:
        reason = redaction.without_secrets(_reason(error), url)
        raise StorageError(f"--storage {_shown(url)}: {reason}{_hint(error)}") from None
    if scheme.startswith("sqlite"):
        event.listen(storage.engine, "connect", _pragmas)
        storage.engine.dispose()
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _tables(url: str, options: dict[str, Any]) -> RDBStorage:
    """Open a database and create its tables, unless another process is creating them."""
    for race in range(_CREATE_ATTEMPTS):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except SQLAlchemyError as error:
            half = isinstance(error, IntegrityError | ProgrammingError) or "already exists" in str(error)
            if not half:
                raise
        except (StorageInternalError, AssertionError):
            pass  # the tables exist, but their version is not written yet
        time.sleep(0.1 * 2**race)
    return RDBStorage(url, engine_kwargs=options)


def _hint(error: BaseException) -> str:
    """Return advice for a storage that is corrupt or of another version of Optuna."""
    broken = isinstance(error.__cause__, sqlite3.DatabaseError) and not isinstance(
        error.__cause__, sqlite3.OperationalError
    )
    if broken or isinstance(error, RuntimeError | ValueError | KeyError):
        return (
            "; `moevae rebuild-storage STUDY` rebuilds the storage from the records of a study "
            "(with --storage URL, the storage at that URL)"
        )
    return ""


def _reason(error: BaseException) -> str:
    """Return the message of the database, from the innermost exception."""
    while error.__cause__:
        error = error.__cause__
    text = str(error).strip()
    return redaction.redact(text.splitlines()[0]) if text else type(error).__name__


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    if make_url(url).get_driver_name().startswith("psycopg") and "connect_timeout" not in url:
        options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
    return options


def _pragmas(connection: Any, _: Any) -> None:
    # The storage can be rebuilt from the records: it must stay consistent, but need no sync on each write.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _shown(url: str) -> str:
    redaction.register_secret(url)
    return redaction.redact(url)
