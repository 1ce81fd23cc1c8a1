"""Content of files that anybody may have written: regular files only, of bounded size, parsed or refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from pydantic_core import ValidationError, from_json

from moevae.errors import MoevaeError

try:
    import resource
except ImportError:  # Windows has no limits to ask for
    resource = None  # type: ignore[assignment]

LIMIT = 16 << 20
"""Bytes of a text file, such as a record: the largest that was ever written has 40 kB."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read. A pipe or a device, which might never end, is refused.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not a regular file.
    """
    # A pipe that nobody writes to would block already in `open`.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        yield file


def read(path: Path, limit: int = LIMIT) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or has more bytes than the limit.
    """
    with opened(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return content


def parse_json(content: bytes | str) -> Any:
    """Return JSON, or what Python makes of NaN and infinity, as plain data.

    Raises:
        ValueError: not JSON, or nested without end.
    """
    return from_json(content)


@contextmanager
def parsing(what: str, error: type[MoevaeError], *, but: type[Exception] = MoevaeError) -> Iterator[None]:
    """Turn whatever a parser raises into one line: a library may fail in any way on a hostile file.

    Args:
        what: is being read, and what was expected; begins the line.
        error: to raise.
        but: what goes through as it is, as our own errors do.
    """
    try:
        yield
    except (MoevaeError, but):
        raise
    except MemoryError:
        raise error(f"{what} (out of memory)") from None
    except Exception as fault:
        raise error(f"{what} ({reason(fault)})") from None


def reason(fault: Exception) -> str:
    """Return an exception's message in one line of readable length; of a model's complaints, the first."""
    if isinstance(fault, ValidationError):
        first = fault.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
        if first["type"] == "missing":
            return f"lacks {shortened(where)}"
        message = first["msg"].removeprefix("Value error, ")
        return shortened(" ".join(f"{where}: {message}".removeprefix(": ").split()))
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return shortened(" ".join(str(fault).split()) or type(fault).__name__)


def shortened(text: str, length: int = 200) -> str:
    """Return the text, its middle left out where it is longer; what cannot be printed is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    half = (length - 5) // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"


def available_memory() -> int:
    """Return the bytes that this process can still take: of the machine, within its own limit."""
    free = int(psutil.virtual_memory().available)
    if resource is None:
        return free
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return free if limit == resource.RLIM_INFINITY else min(free, limit - psutil.Process().memory_info().vms)
