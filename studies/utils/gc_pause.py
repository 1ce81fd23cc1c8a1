"""Python's garbage collector, kept out of where thousands of records are held."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(*, keep: bool = False) -> Iterator[None]:
    """Let the collector rest: it would scan all that was read, time and again, and find nothing.

    With 10,000 records it costs half of opening a study, and a quarter of its report.

    Args:
        keep: never scan later what is there at the end: it is held for long.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        if before:
            gc.enable()
