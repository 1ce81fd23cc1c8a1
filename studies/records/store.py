"""Reading and writing of records: atomic files with a digest."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moevae.config import overrides
from moevae.errors import ConfigError, RecordError
from moevae.utils.content import parsing, shortened
from moevae.utils.content import read as read_content
from moevae.utils.io import write_atomically
from studies.records import consistency
from studies.records.schema import PICTURE_LIMIT, SCHEMA, Outcome, Record, name_of
from studies.utils.gc_pause import uncollected

_DIGEST = b' "digest": "%s",'


def path_of(folder: Path, fingerprint: str) -> Path:
    """Return the path of the record with a fingerprint in the folder of a study."""
    return folder / "records" / f"{fingerprint}.json"


def write_record(folder: Path, outcome: Outcome) -> Path:
    """Write the pictures and then the record, each atomically (temporary file, fsync, rename).

    An existing file that is not a valid record of this version is moved to `refused/`.
    """
    target = path_of(folder, outcome.record.fingerprint)
    if target.exists():
        _quarantine(target, folder / "refused")
    for name, content in outcome.files.items():
        write_atomically(target.parent / name, content)
    write_atomically(target, with_digest(outcome.record.model_dump(mode="json")))
    return target


def with_digest(tree: Mapping[str, Any]) -> bytes:
    """Return the content of a record's file: JSON whose second line is the SHA-256 of the other lines.

    `sed 2d FILE | sha256sum` prints the same digest.
    """
    content = f"{json.dumps(tree, indent=1, allow_nan=False)}\n".encode()
    head, rest = content.split(b"\n", 1)
    return b"\n".join((head, _DIGEST % hashlib.sha256(content).hexdigest().encode(), rest))


def _without_digest(content: bytes) -> bytes:
    """Return the content of a record's file without the digest.

    Raises:
        ValueError: the digest is missing, or does not match the content.
    """
    head, line, rest = (*content.replace(b"\r\n", b"\n").split(b"\n", 2), b"", b"")[:3]
    if not line.startswith(_DIGEST[:12]):
        raise ValueError("it has no digest")
    bare = b"\n".join((head, rest))
    if line != _DIGEST % hashlib.sha256(bare).hexdigest().encode():
        raise ValueError("its content does not match its digest")
    return bare


def _quarantine(path: Path, refused: Path) -> None:
    try:
        read(path)
    except RecordError:
        refused.mkdir(exist_ok=True)
        names = (refused / f"{path.stem}-{number}.json" for number in itertools.count())
        path.rename(next(name for name in names if not name.exists()))


def read(path: Path) -> Record:
    """Read and validate a record.

    Raises:
        RecordError: the file is incomplete, changed or not a record, or its name is not the fingerprint of
            its configuration.
    """
    refused = f"{path}: not a valid record"
    with parsing(refused, RecordError):
        try:
            record = Record.model_validate_json(_without_digest(read_content(path)))
            config = overrides.from_dict(record.config)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    if record.schema_version != SCHEMA:
        raise RecordError(f"{path}: record schema {record.schema_version}; expected schema {SCHEMA}")
    if not (name_of(config, record.method) == record.fingerprint == path.stem):
        raise RecordError(f"{path}: the fingerprint of the configuration differs from the name of the record")
    if problem := next(consistency.problems(record, config), None):
        raise RecordError(f"{refused}: {shortened(problem)}")
    for picture in record.pictures.values():
        if _sha256(path.parent / picture.file) != picture.sha256:
            raise RecordError(f"{path}: the picture {picture.file} is missing or changed")
    full = overrides.to_dict(config)
    return record if record.config == full else record.model_copy(update={"config": full})


@uncollected()
def read_all(folder: Path) -> tuple[list[Record], list[RecordError]]:
    """Read the records in the folder of a study; return the valid records, and errors for the others."""
    items = list(iterate(folder))
    good = [item for item in items if isinstance(item, Record)]
    return good, [item for item in items if isinstance(item, RecordError)]


def iterate(folder: Path) -> Iterator[Record | RecordError]:
    """Yield the records in the folder of a study one by one, with an error for each invalid record."""
    for path in sorted((folder / "records").glob("*.json")):
        try:
            yield read(path)
        except RecordError as error:
            yield error


def _sha256(path: Path) -> str | None:
    """Return the digest of a picture; None if the file is missing, not regular or too large."""
    try:
        return hashlib.sha256(read_content(path, PICTURE_LIMIT)).hexdigest()
    except (OSError, ValueError):
        return None
