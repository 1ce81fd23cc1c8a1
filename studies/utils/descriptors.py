"""How many files a process may still open."""

from __future__ import annotations

import sys

import psutil

_RESERVE = 32
"""Files that a driver opens beside those for its workers: records, pictures, its storage."""


def limit() -> int:
    """Return how many files this process may have open."""
    return _limits()[0]


def room(wanted: int) -> int:
    """Return how many of the wanted files may be opened; raise the limit for them where that is allowed."""
    there, most = _limits()
    taken = _open() + _RESERVE
    if there < taken + wanted and there < most:
        import resource

        there = min(most, taken + wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (there, most))
    return max(0, min(wanted, there - taken))


def needed(files: int) -> int:
    """Return the limit with which so many files could be opened."""
    return _open() + _RESERVE + files


def _open() -> int:
    return psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0


def _limits() -> tuple[int, int]:
    """Return the limit, and the highest that it may be raised to."""
    if sys.platform == "win32":
        return sys.maxsize, sys.maxsize
    import resource

    unlimited = {resource.RLIM_INFINITY: sys.maxsize}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return unlimited.get(soft, soft), unlimited.get(hard, hard)
