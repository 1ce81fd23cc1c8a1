"""Where Optuna keeps a study: a SQLite file in the study's folder, a journal file, or a database server."""

from __future__ import annotations

import logging
import platform
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
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from moevae.errors import MoevaeError
from moevae.names import is_text
from studies import signals

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that a storage may be out of order while a study runs."""

FILES = ("study.db", "study.db-wal", "study.db-shm", "study.db-journal")
"""The SQLite file in a study's folder, and what SQLite keeps beside it."""

_REBUILD = "; python -m studies rebuild-storage STUDY makes it from the records"
_KEPT = "the records are kept, and the next start makes the storage follow them"
_log = logging.getLogger(__name__)


class StorageError(MoevaeError):
    """A storage that cannot be opened, or that holds another's study."""


def patiently(operation: Callable[[], T]) -> T:
    """Do it, again and again for a minute while the storage is out of order; it must bear repetition.

    Raises:
        StorageError: the storage stayed out of order, or somebody deleted the study in it.
    """
    deadline = time.monotonic() + PATIENCE
    pause = 0.1
    while True:
        try:
            return operation()
        except KeyError as error:
            raise StorageError(f"the storage has lost what was in it ({error}): {_KEPT}") from error
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            reason = _reason(error)
            if time.monotonic() + pause > deadline:
                raise StorageError(f"the storage is out of order ({reason}): {_KEPT}") from error
            _log.warning("the storage is out of order (%s): trying again", reason)
        with signals.heeding():
            time.sleep(pause)
        pause = min(2 * pause, 5.0)


def default_url(folder: Path) -> str:
    """Return the absolute URL of the SQLite file in a study's folder, whatever characters its path has.

    Raises:
        StorageError: the path is not UTF-8.
    """
    database = str((folder / FILES[0]).resolve())
    if not is_text(database):
        raise StorageError(f"{database!a}: not UTF-8; expected a folder whose path is, or a --storage")
    return URL.create("sqlite", database=database).render_as_string(hide_password=False)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Return a temporary folder with a copy of the SQLite file in a study's folder: to open one writes there.

    Raises:
        StorageError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as name:
        try:
            for file in FILES:
                if (folder / file).exists():
                    shutil.copyfile(folder / file, Path(name) / file)
        except OSError as error:
            raise StorageError(f"{folder / FILES[0]}: cannot be read ({error.strerror})") from None
        yield Path(name)


def home(folder: Path) -> str:
    """Return how a storage names the folder whose study it holds."""
    return f"{platform.node()}:{folder.resolve()}"


def check_home(storage: BaseStorage, study: str, folder: Path) -> None:
    """Look that a study in a storage belongs to that folder, or to its namesake where the storage is in it.

    Raises:
        StorageError: it belongs to another.
    """
    there = storage.get_study_user_attrs(storage.get_study_id_from_name(study)).get("folder")
    if there != home(folder) and not _inside(storage, folder):
        raise StorageError(
            f"the storage has a study {study!r} of {there or 'another program'}: "
            "give this one another --name, or work in that folder"
        )


def check(url: str) -> None:
    """Look whether there is such a kind of storage, before anything is written.

    Raises:
        StorageError: there is none; the message says which there are.
    """
    scheme, _, place = url.partition("://")
    if scheme == "journal" and place:
        return
    try:
        make_url(url).get_dialect()
    except (SQLAlchemyError, ValueError):
        raise StorageError(
            f"--storage {_without_password(url)}: no such storage; right would be sqlite:///PATH, "
            "journal:///PATH or postgresql+psycopg://HOST/DATABASE"
        ) from None


@contextmanager
def opened(url: str) -> Iterator[BaseStorage]:
    """Open the storage at a URL: `sqlite:///PATH`, `journal:///PATH`, `postgresql+psycopg://...`.

    Raises:
        StorageError: it cannot be opened; the message gives the reason.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    scheme, _, place = url.partition("://")
    if scheme == "journal":
        yield JournalStorage(JournalFileBackend(place))
        return
    try:
        storage = RDBStorage(url, engine_kwargs=_engine_options(scheme))
    except RuntimeError as error:  # Optuna's word for tables of an older or newer version
        hint = _REBUILD if scheme.startswith("sqlite") else "; `optuna storage upgrade` may help"
        raise StorageError(f"--storage {_without_password(url)}: {_reason(error)}{hint}") from None
    except (ArgumentError, ImportError, SQLAlchemyError) as error:
        raise StorageError(f"--storage {_without_password(url)}: {_reason(error)}{_hint(error)}") from None
    if scheme.startswith("sqlite"):
        event.listen(storage.engine, "connect", _pragmas)
        storage.engine.dispose()
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _hint(error: BaseException) -> str:
    """Return what helps against a SQLite file that is broken."""
    broken = isinstance(error.__cause__, sqlite3.DatabaseError) and not isinstance(
        error.__cause__, sqlite3.OperationalError
    )
    return _REBUILD if broken else ""


def _inside(storage: BaseStorage, folder: Path) -> bool:
    """Return whether the storage is the SQLite file in the folder, which may have been moved with it."""
    return isinstance(storage, RDBStorage) and storage.url == default_url(folder)


def _reason(error: BaseException) -> str:
    """Return what the database said, beneath what Optuna and SQLAlchemy wrapped around it."""
    while error.__cause__:
        error = error.__cause__
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _engine_options(scheme: str) -> dict[str, Any]:
    if scheme.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    return {"pool_pre_ping": True}


def _pragmas(connection: Any, _: Any) -> None:
    # The records are the truth: the index need not reach the disk at every step, it must only never tear.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"
