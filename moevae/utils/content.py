"""Safe reading of untrusted files: regular files only, of bounded size, with errors as one line."""

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
except ImportError:  # Windows has no resource limits
    resource = None  # type: ignore[assignment]

LIMIT = 16 << 20
"""Largest text file, such as a record, in bytes; records have up to about 40 kB."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading. Pipes and devices, which may be endless, are refused.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the path is not a regular file.
    """
    descriptor, _ = _opened(path)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _opened(path: Path | str) -> tuple[int, int]:
    """Open a regular file for reading; return its descriptor and its size."""
    # Without O_NONBLOCK, `open` blocks on a pipe without a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file")
    return descriptor, state.st_size


def read(path: Path | str, limit: int = LIMIT) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        limit: largest size, in bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: the path is not a regular file, or the file is larger than the limit.
    """
    descriptor, size = _opened(path)
    try:
        # Reading up to the limit at once would allocate as many bytes for each small file.
        content = os.read(descriptor, min(limit, size) + 1)
        # A call of the system may return fewer bytes, and the file may have grown.
        while len(content) != size and len(content) <= limit:
            more = os.read(descriptor, limit + 1 - len(content))
            if not more:
                break
            content += more
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"more than {limit:,} bytes")
    return content


def parse_json(content: bytes | str) -> Any:
    """Parse JSON; NaN and infinity are allowed.

    Args:
        content: text, or bytes in UTF-8.

    Raises:
        ValueError: the content is not JSON, or nested too deeply.
    """
    return from_json(content)


@contextmanager
def parsing(what: str, error: type[MoevaeError], *, but: type[Exception] = MoevaeError) -> Iterator[None]:
    """Convert any exception of a parser to a one-line error; libraries may raise any exception on bad files.

    Args:
        what: start of the message: what is read, and what was expected.
        error: type of the error to raise.
        but: type of exceptions that pass unchanged, like the errors of `moevae`.
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
    """Return the message of an exception in one short line; of validation errors, the first one."""
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
    """Return a text without its middle part if it is longer than `length`.

    Characters that cannot be encoded are escaped.

    Args:
        text: the text.
        length: maximum number of characters.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    half = (length - 5) // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"


def available_memory() -> int:
    """Return the memory that this process can still allocate, in bytes."""
    free = int(psutil.virtual_memory().available)
    if resource is None:
        return free
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return free if limit == resource.RLIM_INFINITY else min(free, limit - psutil.Process().memory_info().vms)
