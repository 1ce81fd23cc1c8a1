"""Ownership of a study in a storage: the folder with the same identity owns it, on any machine."""

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
from studies.storage import connection as storage
from studies.storage.connection import StorageError

IDENTITY = "identity"
"""Name of the study attribute in a storage, and of the field in `study.json`."""
_PLACE = "folder"
"""Name of the attribute with the folder that last used the study."""
_DESCRIPTION = {"title", "description", "command", "rule", "oracle"}
_CLAIM_SECONDS = 1.0
"""Seconds within which the creator of a study in a storage sets its owner."""


class OwnedError(StorageError):
    """Raised when a study of the same name in the storage belongs to another folder."""


def folder_label(folder: Path) -> str:
    """Return the name of the folder in messages, with the host."""
    return f"{platform.node()}:{folder.resolve()}"


def identity(folder: Path) -> str:
    """Return the identity of the study in a folder; for old studies without one, the path of the folder."""
    with suppress(RecordError):
        return study_file.read(folder).identity or folder_label(folder)
    return folder_label(folder)


def check(opened: BaseStorage, name: str, folder: Path) -> None:
    """Check that a study in a storage belongs to a folder. Writes nothing.

    Args:
        opened: the storage; it need not hold a study of this name.
        name: name of the study.
        folder: folder of the study.

    Raises:
        OwnedError: the study belongs to another folder.
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


def claim(opened: BaseStorage, number: int, name: str, folder: Path, *, made: bool) -> None:
    """Set the folder as the owner of a study.

    Args:
        opened: the storage.
        number: ID of the study in the storage.
        name: name of the study.
        folder: the folder of the study.
        made: whether this process has just created the study in the storage.

    Raises:
        OwnedError: the study belongs to another folder.
    """
    check(opened, name, folder)
    if not made and not _own(opened, opened.get_study_user_attrs(number), folder):
        time.sleep(_CLAIM_SECONDS)  # another driver may have created it just now
        check(opened, name, folder)
    opened.set_study_user_attr(number, IDENTITY, identity(folder))
    opened.set_study_user_attr(number, _PLACE, folder_label(folder))
    check(opened, name, folder)


@contextmanager
def described(folder: Path) -> Iterator[None]:
    """Remove a `study.json` written in this block if the study in the storage belongs to another folder.

    Args:
        folder: folder of the study.
    """
    path = folder / "study.json"
    before = path.exists()
    try:
        yield
    except OwnedError:
        if not before:
            path.unlink(missing_ok=True)
        raise


def _own(opened: BaseStorage, attributes: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a study belongs to the folder: by identity, by path, or by a storage in the folder."""
    private = isinstance(opened, RDBStorage) and opened.url == storage.default_url(folder)
    return (
        private
        or attributes.get(IDENTITY) == identity(folder)
        or attributes.get(_PLACE) == folder_label(folder)
    )


def _abandoned(opened: BaseStorage, number: int, attributes: Mapping[str, Any]) -> bool:
    """Return whether the creator of a study ended before it set an owner or added a trial."""
    return attributes.keys() <= _DESCRIPTION and not opened.get_n_trials(number)
