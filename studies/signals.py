"""How a driver is asked to end: SIGTERM becomes an exception, as Ctrl-C is one already."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Stopped(BaseException):
    """The driver was asked to end, by SIGTERM."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the work the way an interrupt does: what is finished stays, the rest is queued."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
