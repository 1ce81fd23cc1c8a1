"""Where Optuna keeps a study: a SQLite file in the study's folder, a journal file, or a database server."""

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
"""Environment variable that names the storage where no option does: passwords are safer there."""

PATIENCE = 60.0
"""Seconds that a storage may be out of order while a study runs."""

_RACES = 5
"""How often the tables are looked for while another process is making them."""
_CONNECT_SECONDS = 15
"""Within which a database server has to answer a new connection."""
FILES = ("study.db", "study.db-wal", "study.db-shm", "study.db-journal")
"""The SQLite file in a study's folder, and what SQLite keeps beside it."""

_KEPT = "the records are kept, and the next start makes the storage follow them"
_log = logging.getLogger(__name__)


class StorageError(MoevaeError):
    """A storage that cannot be opened, or that holds another's study."""


def with_retries(operation: Callable[[], T]) -> T:
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
        with signals.deliver_signals():
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


def given(typed: str | None) -> str | None:
    """Return the storage that was typed, or else that the environment names, or None."""
    url = typed or os.environ.get(VARIABLE) or None
    if url:
        redaction.learn(url)
    return url


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
            f"--storage {_shown(url)}: no such storage; expected sqlite:///PATH, journal:///PATH or "
            "postgresql+psycopg://HOST/DATABASE"
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
    """Open a database, and make its tables unless another process is just making them."""
    for race in range(_RACES):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except SQLAlchemyError as error:
            half = isinstance(error, IntegrityError | ProgrammingError) or "already exists" in str(error)
            if not half:
                raise
        except (StorageInternalError, AssertionError):
            pass  # the tables are there, and their version is not yet
        time.sleep(0.1 * 2**race)
    return RDBStorage(url, engine_kwargs=options)


def _hint(error: BaseException) -> str:
    """Return what helps against a storage that is broken, or of another version of Optuna."""
    broken = isinstance(error.__cause__, sqlite3.DatabaseError) and not isinstance(
        error.__cause__, sqlite3.OperationalError
    )
    if broken or isinstance(error, RuntimeError | ValueError | KeyError):
        return (
            "; moevae rebuild-storage STUDY makes a study's own storage from its records "
            "(with --storage URL, another one)"
        )
    return ""


def _reason(error: BaseException) -> str:
    """Return what the database said, beneath what Optuna and SQLAlchemy wrapped around it."""
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
    # The records are the truth: the index need not reach the disk at every step, it must only never tear.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _shown(url: str) -> str:
    redaction.learn(url)
    return redaction.redact(url)
