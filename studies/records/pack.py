"""Packing of the records of a finished study into one file, and unpacking; safe against interruption."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moevae.errors import RecordError
from moevae.utils import content
from moevae.utils.io import remove_empty, write_atomically
from studies.records import lock, packed, store
from studies.records.packed import PICTURES, RECORDS, Pictures
from studies.records.schema import PICTURE_LIMIT, Record

_NEW = ".new"
"""Ending of the names of files that are not verified yet."""


@dataclass(frozen=True)
class Packing:
    """The result of packing or unpacking."""

    records: int
    kept: tuple[str, ...] = ()
    """Names of pictures that are kept."""
    dropped: tuple[str, ...] = ()
    """Names of pictures that are deleted; `pictures.json` lists their digests."""
    left: tuple[str, ...] = ()
    """Files that are not packed, with the reason, one line each."""
    replaced: tuple[str, ...] = ()
    """Fingerprints of packed records that were replaced by newer files."""


def pack(folder: Path, shown: Collection[str]) -> Packing:
    """Write the records of a study to `records.jsonl`, and the shown pictures to `pictures.json`.

    Both are written to new files, verified and renamed. Then the files of the packed records and their
    pictures are removed; other files are kept.

    Args:
        folder: the folder of the study.
        shown: file names of the pictures to keep.

    Raises:
        RecordError: there are no records, `records` is a link, or a packed record is invalid and would be
            lost.
        StudyLockedError: a driver works on the study.
    """
    if (folder / "records").is_symlink():
        raise RecordError(
            f"{folder / 'records'}: a link, and packing would remove the files of the folder that it leads "
            "to; expected a folder"
        )
    with lock.hold(folder):
        own: dict[str, Record] = {}
        files: dict[Path, bytes] = {}
        left, replaced = [], []
        for path in sorted((folder / "records").glob("*.json")):
            try:
                record = store.read(path)
                with content.parsing(f"{path}: cannot be packed", RecordError):
                    packed.as_line(file := content.read(path))
                own[path.stem], files[path] = record, file
            except RecordError as error:
                left.append(str(error))
        lines, records = _packed(folder, own)
        for path, file in files.items():
            line = packed.as_line(file)
            if lines.get(path.stem, line) != line:
                replaced.append(path.stem)
            lines[path.stem] = line
        records |= own
        if not records:
            raise RecordError(f"{folder}: no records to pack")
        pictures, loose = _sorted(folder, records.values(), shown)
        new = {
            PICTURES: pictures.model_dump_json(indent=1).encode() + b"\n",
            RECORDS: b"".join(lines[name] + b"\n" for name in sorted(lines)),
        }
        for name, text in new.items():
            write_atomically(folder / f"{name}{_NEW}", text)
        _check(folder, lines, pictures, records.values())
        for name in new:  # pictures first: records need the list of deleted pictures
            (folder / f"{name}{_NEW}").replace(folder / name)
        _remove(files)
        _remove(loose)
        remove_empty([folder / "records"])
    return Packing(
        len(lines), tuple(pictures.kept), tuple(path.name for path in loose if path.name in pictures.dropped),
        tuple(left), tuple(replaced),
    )  # fmt: skip


def unpack(folder: Path) -> Packing:
    """Write each packed record and picture of a study to a separate file.

    `pictures.json` keeps the list of deleted pictures.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the study is not packed, or a record is invalid.
        StudyLockedError: a driver works on the study.
    """
    with lock.hold(folder):
        own = {path.stem for path in (folder / "records").glob("*.json") if store.read(path)}
        lines, _ = _packed(folder, own)
        pictures = packed.pictures(folder)
        if not lines and not pictures.kept:
            raise RecordError(f"{folder}: not packed (no {RECORDS})")
        files = {store.path_of(folder, name): packed.as_file(lines[name]) for name in lines.keys() - own}
        replaced = [name for name in sorted(own & lines.keys()) if not _same(folder, name, lines[name])]
        for name, text in pictures.kept.items():
            if not (folder / "records" / name).exists():
                write_atomically(folder / "records" / name, base64.b64decode(text, validate=True))
        for path, file in files.items():
            write_atomically(path, file)
        for path in files:
            store.read(path)
        (folder / RECORDS).unlink(missing_ok=True)
        if pictures.dropped:
            rest = Pictures(dropped=pictures.dropped)
            write_atomically(folder / PICTURES, rest.model_dump_json(indent=1).encode() + b"\n")
        else:
            (folder / PICTURES).unlink(missing_ok=True)
    return Packing(len(lines), tuple(pictures.kept), tuple(pictures.dropped), replaced=tuple(replaced))


def _packed(folder: Path, own: Collection[str]) -> tuple[dict[str, bytes], dict[str, Record]]:
    """Return the lines of a study's packed records, and the records, by fingerprint.

    Args:
        folder: the folder of the study.
        own: fingerprints of records with separate files, whose packed versions are not validated.

    Raises:
        RecordError: a record is invalid.
    """
    lines, records = {}, {}
    path = folder / RECORDS
    for line in packed.lines(folder):
        name = line.fingerprint
        if name in lines:
            raise RecordError(
                f"{path}:{line.number}: another line has the same run; expected one line per run"
            )
        if name not in own:
            records[name] = store.read_packed(path, line)
        with content.parsing(f"{path}:{line.number}: cannot be read", RecordError):
            lines[name] = packed.read_line(path, line)
    return lines, records


def _same(folder: Path, name: str, line: bytes) -> bool:
    """Return whether the separate file of a record equals its packed version."""
    try:
        return packed.as_line(content.read(store.path_of(folder, name))) == line
    except ValueError:
        return False


def _sorted(
    folder: Path, records: Iterable[Record], shown: Collection[str]
) -> tuple[Pictures, dict[Path, bytes]]:
    """Divide the pictures of records into kept and deleted ones; also return those with separate files."""
    before = packed.pictures(folder)
    kept, dropped, loose = {}, {}, {}
    for record in records:
        for picture in record.pictures.values():
            name, path = picture.file, folder / "records" / picture.file
            if packed.was_dropped(folder, name):
                dropped[name] = before.dropped[name]
                continue
            png = packed.read_picture(folder, name, PICTURE_LIMIT)
            if path.exists():
                loose[path] = png
            if name in shown or name in before.kept:
                kept[name] = base64.b64encode(png).decode()
            else:
                dropped[name] = picture.sha256
    return Pictures(kept=dict(sorted(kept.items())), dropped=dict(sorted(dropped.items()))), loose


def _check(folder: Path, lines: Mapping[str, bytes], pictures: Pictures, records: Iterable[Record]) -> None:
    """Verify the new files by reading them.

    Raises:
        RecordError: they do not contain the records and the pictures.
    """
    path = folder / f"{RECORDS}{_NEW}"
    with content.parsing(f"{path}: verification failed", RecordError):
        written = {line.fingerprint: packed.read_line(path, line) for line in packed.lines_of(path)}
        read = content.read(folder / f"{PICTURES}{_NEW}", packed.PICTURES_LIMIT)
        if written != lines or Pictures.model_validate_json(read) != pictures:
            raise ValueError("the content differs")
        for line in written.values():
            packed.as_file(line)
        for picture in (each for record in records for each in record.pictures.values()):
            digest = pictures.dropped.get(picture.file)
            if digest is None:
                png = base64.b64decode(pictures.kept[picture.file], validate=True)
                digest = hashlib.sha256(png).hexdigest()
            if digest != picture.sha256:
                raise ValueError(f"{picture.file} differs from its digest")


def _remove(files: Mapping[Path, bytes]) -> None:
    """Remove files, except those that have changed in the meantime."""
    for path, known in files.items():
        with suppress(OSError, ValueError):
            if content.read(path, PICTURE_LIMIT) == known:
                path.unlink()
