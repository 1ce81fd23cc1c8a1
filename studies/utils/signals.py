"""How a driver is asked to end: SIGTERM and Ctrl-C become exceptions, but not amid what must stay whole.

An exception that cuts a storage's transaction in two leaves the transaction open, and whoever writes next,
such as the driver that puts its cells back, waits for it in vain.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """The driver was asked to end, by SIGTERM."""


_held = False
_waiting: type[BaseException] | None = None


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the work the way an interrupt does: what is finished stays, the rest is queued.

    A second signal ends the process at once, whatever it is doing: a driver survives that as it does kill -9.
    """
    global _waiting
    kinds: dict[int, type[BaseException]] = {signal.SIGTERM: Terminated}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where interrupts are ignored
        kinds[signal.SIGINT] = KeyboardInterrupt

    def stop(signum: int, frame: FrameType | None) -> None:
        global _waiting
        for each in kinds:
            signal.signal(each, signal.SIG_DFL)
        if not _held:
            raise kinds[signum]
        _waiting = kinds[signum]

    before = {signum: signal.signal(signum, stop) for signum in kinds}
    try:
        yield
    finally:
        _waiting = None
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let signals wait until the end of this block, or until something in it is `heeding` them."""
    global _held
    before, _held = _held, True
    try:
        yield
    finally:
        _held = before
    if not _held:
        _raise_waiting()


@contextmanager
def deliver_signals() -> Iterator[None]:
    """Let signals through, those that waited first: here an exception cuts nothing in two."""
    global _held
    before, _held = _held, False
    try:
        _raise_waiting()
        yield
    finally:
        _held = before


def _raise_waiting() -> None:
    global _waiting
    if _waiting:
        waited, _waiting = _waiting, None
        raise waited
