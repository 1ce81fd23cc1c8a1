"""Whose a study in a storage is: the folder's that has the same identity, on whichever machine it is."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, RDBStorage

from moevae.errors import RecordError
from studies.records import study_file
from studies.storage import open as storage
from studies.storage.open import StorageError

IDENTITY = "identity"
"""Name of the attribute of a study in a storage, and of the entry in `study.json`."""
_PLACE = "folder"
"""Name of the attribute that says where the study was last worked on."""
_DESCRIPTION = {"title", "description", "command", "rule", "oracle"}
_MOMENT = 1.0
"""Seconds within which whoever has made a study in a storage will have named its owner."""


class OwnedError(StorageError):
    """A study of that name in the storage belongs to another folder."""


def home(folder: Path) -> str:
    """Return how messages name the folder."""
    return f"{platform.node()}:{folder.resolve()}"


def identity(folder: Path) -> str:
    """Return the identity of the study in a folder; its place where it was begun before there were any."""
    with suppress(RecordError):
        return study_file.read(folder).identity or home(folder)
    return home(folder)


def check(opened: BaseStorage, name: str, folder: Path) -> None:
    """Look that a study of that name, if the storage has one, is the folder's. Writes nothing.

    Raises:
        OwnedError: it is another's.
    """
    try:
        number = opened.get_study_id_from_name(name)
    except KeyError:
        return
    attributes = opened.get_study_user_attrs(number)
    if _own(opened, attributes, folder) or _abandoned(opened, number, attributes):
        return
    raise OwnedError(
        f"the storage holds another study {name!r}, of {attributes.get(_PLACE) or 'another program'}: "
        "choose another --name, or use that folder"
    )


def take(opened: BaseStorage, number: int, name: str, folder: Path, *, made: bool) -> None:
    """Name the folder as the owner of a study.

    Args:
        opened: the storage.
        number: of the study in the storage.
        name: of the study.
        folder: the study's own.
        made: whether this process has just made it in the storage.

    Raises:
        OwnedError: it is another's.
    """
    check(opened, name, folder)
    if not made and not _own(opened, opened.get_study_user_attrs(number), folder):
        time.sleep(_MOMENT)  # another driver may have made it just now
        check(opened, name, folder)
    opened.set_study_user_attr(number, IDENTITY, identity(folder))
    opened.set_study_user_attr(number, _PLACE, home(folder))
    check(opened, name, folder)


@contextmanager
def described(folder: Path) -> Iterator[None]:
    """Remove a `study.json` that was written in here, if the storage turns out to have another's study."""
    path = folder / "study.json"
    before = path.exists()
    try:
        yield
    except OwnedError:
        if not before:
            path.unlink(missing_ok=True)
        raise


def _own(opened: BaseStorage, attributes: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a study is the folder's: by identity, by place, or as the file beside its records."""
    private = isinstance(opened, RDBStorage) and opened.url == storage.default_url(folder)
    return private or attributes.get(IDENTITY) == identity(folder) or attributes.get(_PLACE) == home(folder)


def _abandoned(opened: BaseStorage, number: int, attributes: Mapping[str, Any]) -> bool:
    """Return whether whoever made a study in the storage ended before it had an owner or any trial."""
    return attributes.keys() <= _DESCRIPTION and not opened.get_n_trials(number)
