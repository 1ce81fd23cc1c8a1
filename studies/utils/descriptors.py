"""The limit of open files of this process."""

from __future__ import annotations

import sys

import psutil

_RESERVE = 32
"""Number of files that a driver opens for records, pictures and the storage, apart from workers."""


def limit() -> int:
    """Return the limit of open files of this process."""
    return _limits()[0]


def affordable(wanted: int) -> int:
    """Return how many files can be opened, raising the limit of the process if possible.

    Args:
        wanted: number of files.

    Returns:
        A number up to `wanted`.
    """
    there, most = _limits()
    taken = _open() + _RESERVE
    if there < taken + wanted and there < most:
        import resource

        there = min(most, taken + wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (there, most))
    return max(0, min(wanted, there - taken))


def needed(files: int) -> int:
    """Return the limit that opening this number of files requires."""
    return _open() + _RESERVE + files


def _open() -> int:
    return psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0


def _limits() -> tuple[int, int]:
    """Return the soft limit and the hard limit."""
    if sys.platform == "win32":
        return sys.maxsize, sys.maxsize
    import resource

    unlimited = {resource.RLIM_INFINITY: sys.maxsize}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return unlimited.get(soft, soft), unlimited.get(hard, hard)
