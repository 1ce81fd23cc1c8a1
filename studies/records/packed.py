"""Packed records of a study: one per line of `records.jsonl`, with their pictures in `pictures.json`.

A line contains the JSON of the file of a record, including its digest, without spaces. The bytes of the file
can be restored from the line, and the digest is checked on these bytes.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from moevae.errors import RecordError
from moevae.utils import content

RECORDS = "records.jsonl"
PICTURES = "pictures.json"
PICTURES_LIMIT = 256 << 20
"""Maximum size of `pictures.json`, in bytes."""

_FINGERPRINT = re.compile(rb'"fingerprint":"(\w+)"')


class Pictures(BaseModel):
    """Content of `pictures.json`: the kept and the deleted pictures of packed records."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["moevae-pictures-1"] = "moevae-pictures-1"
    kept: Mapping[str, Annotated[str, Field(max_length=PICTURES_LIMIT)]] = {}
    """The pictures shown in the report, PNG in base64 by file name."""
    dropped: Mapping[str, str] = {}
    """SHA-256 of the pictures deleted by packing, by file name."""


@dataclass(frozen=True)
class Line:
    """The position of a packed record."""

    number: int
    """Number of the line, from 1."""
    start: int
    size: int
    """Size in bytes, without the end of the line."""
    fingerprint: str
    """Fingerprint in the line; empty if missing."""


def as_line(file: bytes) -> bytes:
    """Return the packed form of the file of a record, without a line end.

    Args:
        file: content of the file.

    Raises:
        ValueError: the file is not JSON, or not in the format of records.
    """
    tree = json.loads(file)
    if _rendered(tree) != file.replace(b"\r\n", b"\n"):
        raise ValueError("not in the format of records: other spaces, order or numbers")
    return _compact(tree)


def as_file(line: bytes) -> bytes:
    """Return the file of a packed record, the inverse of `as_line`.

    Args:
        line: the packed record, without a line end.

    Raises:
        ValueError: the line is not JSON, or not in the format of `as_line`.
    """
    tree = json.loads(line)
    if _compact(tree) != line:
        raise ValueError("not a packed record: other spaces, order or numbers")
    return _rendered(tree)


def _rendered(tree: object) -> bytes:
    return f"{json.dumps(tree, indent=1, allow_nan=False)}\n".encode()


def _compact(tree: object) -> bytes:
    return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()


def lines(folder: Path) -> tuple[Line, ...]:
    """Return the lines of the packed records of a study; empty if it is not packed.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the file cannot be read.
    """
    return lines_of(folder / RECORDS)


def lines_of(path: Path) -> tuple[Line, ...]:
    """Return the lines of a file of packed records; empty if it does not exist.

    Args:
        path: the file.

    Raises:
        RecordError: the file cannot be read.
    """
    state = _state(path)
    return () if state is None else _lines(path, state)


def find(folder: Path, fingerprint: str) -> Line | None:
    """Return the position of the packed record with a fingerprint; None if it does not exist.

    Args:
        folder: the folder of the study.
        fingerprint: the fingerprint.
    """
    return next((line for line in lines(folder) if line.fingerprint == fingerprint), None)


def read_line(path: Path, line: Line) -> bytes:
    """Return the content of a line, without its end.

    Args:
        path: the file of packed records.
        line: position of the line.

    Raises:
        ValueError: the line exceeds the size limit of a record.
    """
    if line.size > content.LIMIT:
        raise ValueError(f"more than {content.LIMIT:,} bytes")
    with content.opened(path) as file:
        file.seek(line.start)
        return file.read(line.size)


@functools.lru_cache(maxsize=4)
def _lines(path: Path, state: tuple[int, ...]) -> tuple[Line, ...]:
    found = []
    with content.parsing(f"{path}: cannot be read", RecordError), content.opened(path) as file:
        number = start = 0
        while text := file.readline(content.LIMIT + 2):
            number, size = number + 1, len(text)
            while not text.endswith(b"\n") and (more := file.readline(content.LIMIT)):
                size, text = size + len(more), text[:1000] + more[-2:]
            end = 2 if text.endswith(b"\r\n") else 1 if text.endswith(b"\n") else 0
            match = _FINGERPRINT.search(text)
            if size > end:
                found.append(Line(number, start, size - end, match[1].decode() if match else ""))
            start += size
    return tuple(found)


def pictures(folder: Path) -> Pictures:
    """Return the kept and the deleted pictures of packed records.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: `pictures.json` cannot be read.
    """
    path = folder / PICTURES
    state = _state(path)
    return Pictures() if state is None else _pictures(path, state)


@functools.lru_cache(maxsize=4)
def _pictures(path: Path, state: tuple[int, ...]) -> Pictures:
    with content.parsing(f"{path}: not a list of pictures", RecordError):
        return Pictures.model_validate_json(content.read(path, PICTURES_LIMIT))


def read_picture(folder: Path, name: str, limit: int) -> bytes:
    """Return a picture of a record, from its file or packed.

    Args:
        folder: the folder of the study.
        name: file name of the picture.
        limit: maximum size, in bytes.

    Raises:
        OSError: the picture does not exist.
        ValueError: it is not a regular file, or too large.
        RecordError: `pictures.json` cannot be read.
    """
    path = f"{folder}/records/{name}"  # faster than a `Path` for each of thousands of files
    try:
        return content.read(path, limit)
    except FileNotFoundError:
        if os.path.lexists(path) or name not in (kept := pictures(folder).kept):
            raise
    return base64.b64decode(kept[name], validate=True)


def was_dropped(folder: Path, name: str) -> bool:
    """Return whether a picture was deleted by packing and has not been restored.

    Args:
        folder: the folder of the study.
        name: file name of the picture.
    """
    return not os.path.lexists(folder / "records" / name) and name in pictures(folder).dropped


def _state(path: Path) -> tuple[int, ...] | None:
    """Return values that change when a file is replaced; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
