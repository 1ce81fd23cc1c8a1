"""Limits for a command that reads a hostile file, and loops over such files."""

from __future__ import annotations

import contextlib
import resource
import signal

import psutil
import pytest

SECONDS = 20
"""Limit of processor time of a case; a case that waits is ended by the timeout of its test."""
MEMORY = 1 << 30
"""Limit of additional memory of a case, in bytes."""

SIZED = pytest.mark.parametrize("most", [3, pytest.param(60, marks=pytest.mark.faults)])
"""Number of cases of each kind, evenly spaced among all."""
FILES = "hostile files"
OUTCOME = f"each one line and exit code 2, within {SECONDS} s and {MEMORY >> 20} MiB; nothing written"


@contextlib.contextmanager
def bounded():
    """Limit time and memory."""

    def late(*_):
        raise TimeoutError(f"not done in {SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def some(cases, most):
    """Return all cases, or a number of them evenly spaced."""
    every = [*cases]
    return every[:: -(-len(every) // most)]


def each(cases, path, most):
    """Write the cases one after the other; yield their names."""
    for name, write in some(cases, most):
        write(path)
        yield name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)


def count(names, check):
    """Check every case and report all that fail; return the number of cases."""
    number, wrong = 0, []
    for name in names:
        number += 1
        try:
            check(name)
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    assert not wrong, f"{len(wrong)} of {number} cases:\n" + "\n".join(wrong)
    return number
