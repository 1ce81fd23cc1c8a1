"""Pausing of Python's garbage collector while thousands of records are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_gc(*, keep: bool = False) -> Iterator[None]:
    """Pause the garbage collector, which would scan the records repeatedly and free nothing.

    With 10,000 records it takes half of the time to open a study, and a quarter of the time of its report.

    Args:
        keep: whether to exclude the objects that exist at the end from later collections.
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
