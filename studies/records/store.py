"""Reading and writing of records: atomic files with a digest."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from moevae.config import overrides
from moevae.errors import ConfigError, RecordError
from moevae.utils.content import parse_json, parsing, shortened
from moevae.utils.content import read as read_content
from moevae.utils.io import write_atomically
from studies.records import consistency, packed
from studies.records.packed import Line
from studies.records.schema import PICTURE_LIMIT, SCHEMA, Outcome, Picture, Record, in_columns, name_of
from studies.utils.gc_pause import paused_gc

_OLD, _ROWS = b'"schema_version": 1,', b'"schema_version": 2,'
_DIGEST = b' "digest": "%s",'


def path_of(folder: Path, fingerprint: str) -> Path:
    """Return the path of the record with a fingerprint in the folder of a study.

    Args:
        folder: the folder of the study.
        fingerprint: the fingerprint.
    """
    return folder / "records" / f"{fingerprint}.json"


def exists(folder: Path, fingerprint: str) -> bool:
    """Return whether a study has a record with a fingerprint, in a separate file or packed.

    Args:
        folder: the folder of the study.
        fingerprint: the fingerprint.
    """
    return path_of(folder, fingerprint).exists() or packed.find(folder, fingerprint) is not None


def write_record(folder: Path, outcome: Outcome) -> Path:
    """Write the pictures and then the record, each atomically (temporary file, fsync, rename).

    An existing file that is not a valid record of this version is moved to `refused/`.

    Args:
        folder: the folder of the study.
        outcome: the record, and its pictures by file name.

    Returns:
        The path of the record.
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

    Args:
        tree: the record as JSON data.
    """
    content = f"{json.dumps(tree, indent=1, allow_nan=False)}\n".encode()
    head, rest = content.split(b"\n", 1)
    return b"\n".join((head, _DIGEST % hashlib.sha256(content).hexdigest().encode(), rest))


def without_digest(content: bytes) -> bytes:
    """Return the content of a record's file without the digest.

    Args:
        content: content of the file.

    Raises:
        ValueError: the digest is missing, or does not match the content.
    """
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    begin = content.find(b"\n") + 1
    end = content.find(b"\n", begin) + 1
    line, bare = content[begin : end - 1], content[:begin] + content[end:]
    if not (begin and end and line.startswith(_DIGEST[:12])):
        raise ValueError("it has no digest")
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
    """Read and check one record, from its file or, if that does not exist, from the packed records.

    Args:
        path: path of the record's file, which may be packed instead.

    Raises:
        RecordError: the file is incomplete, changed or not a record, or its name is not the fingerprint of
            its configuration.
    """
    folder = path.parent.parent
    if not path.exists() and (line := packed.find(folder, path.stem)):
        return read_packed(folder / packed.RECORDS, line)
    return _read_file(path, folder)


def _read_file(path: Path, folder: Path) -> Record:
    return _checked(str(path), lambda: read_content(path), path.stem, folder)


def read_packed(path: Path, line: Line) -> Record:
    """Read and check one packed record.

    Args:
        path: the file of packed records, in the folder of the study.
        line: the position of the record.

    Raises:
        RecordError: the record is invalid; the message names the line.
    """
    where = f"{path}:{line.number}"
    return _checked(
        where, lambda: packed.as_file(packed.read_line(path, line)), line.fingerprint, path.parent
    )


def _checked(where: str, content: Callable[[], bytes], name: str, folder: Path) -> Record:
    """Parse the file of a record; check its digest, its name and its pictures."""
    refused = f"{where}: not a valid record"
    with parsing(refused, RecordError):
        try:
            bare = without_digest(content())
            if _OLD in bare[:40]:
                raise RecordError(f"{where}: record schema 1; run `moevae migrate {folder}`")
            record = _of_schema_2(bare) if _ROWS in bare[:40] else Record.model_validate_json(bare)
            config = record.run_config
        except ConfigError as error:
            raise ValueError(str(error)) from None
    if record.schema_version != SCHEMA:
        raise RecordError(f"{where}: record schema {record.schema_version}; expected schema {SCHEMA}")
    full = overrides.to_dict(config)
    if not (name_of(full, record.method) == record.fingerprint == name):
        raise RecordError(
            f"{where}: the fingerprint of the configuration differs from the name of the record"
        )
    if problem := next(consistency.problems(record, config), None):
        raise RecordError(f"{refused}: {shortened(problem)}")
    for picture in record.pictures.values():
        if _sha256(folder, picture) != picture.sha256:
            raise RecordError(f"{where}: the picture {picture.file} is missing or changed")
    return record if record.config == full else record.model_copy(update={"config": full})


def _of_schema_2(content: bytes) -> Record:
    tree = parse_json(content)
    curve = in_columns(tree.get("curve", ()))
    return Record.model_validate({**tree, "schema_version": SCHEMA, "curve": curve})


@paused_gc()
def read_all(folder: Path, *, curves: bool = True) -> tuple[list[Record], list[RecordError]]:
    """Read the records in the folder of a study; return the valid records, and errors for the others.

    Args:
        folder: the folder of the study.
        curves: whether to keep the learning curves, which take most of the memory, or only their last epochs.
    """
    good, refused = [], []
    for item in iterate(folder):
        if isinstance(item, RecordError):
            refused.append(item)
        else:
            good.append(item if curves else item.model_copy(update={"curve": item.curve.end()}))
    return good, refused


def iterate(folder: Path) -> Iterator[Record | RecordError]:
    """Yield the records in the folder of a study, and an error for each invalid one.

    If a record is packed and has a separate file, the file is read, and the packed version if it is invalid.

    Args:
        folder: the folder of the study.
    """
    try:
        lines = packed.lines(folder)
    except RecordError as error:
        yield error
        lines = ()
    found: dict[str, list[Path | Line]] = {}
    records = folder / "records"
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(records) as entries:
        for name in (entry.name for entry in entries if entry.name.endswith(".json")):
            found.setdefault(name.removesuffix(".json"), []).append(records / name)
    for line in lines:
        found.setdefault(line.fingerprint, []).append(line)
    for name in sorted(found):
        good: Path | Line | None = None
        for place in found[name]:
            if good is None:
                try:
                    path = folder / packed.RECORDS
                    yield read_packed(path, place) if isinstance(place, Line) else _read_file(place, folder)
                    good = place
                except RecordError as error:
                    yield error
            elif isinstance(good, Line) and isinstance(place, Line):
                path = folder / packed.RECORDS
                yield RecordError(f"{path}:{place.number}: the same run as line {good.number}")


def _sha256(folder: Path, picture: Picture) -> str | None:
    """Return the digest of a picture, or the listed digest of a deleted one; None if it does not exist."""
    try:
        content = packed.read_picture(folder, picture.file, PICTURE_LIMIT)
        return hashlib.sha256(content).hexdigest()
    except FileNotFoundError:
        dropped = packed.was_dropped(folder, picture.file)
        return packed.pictures(folder).dropped[picture.file] if dropped else None
    except (OSError, ValueError):
        return None
