"""Signal handling of a driver: SIGTERM and Ctrl-C raise exceptions, except in critical sections.

An exception within a transaction of the storage leaves the transaction open and blocks the next writer, such
as the driver when it returns its cells to the queue.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class Terminated(BaseException):
    """Raised when the driver receives SIGTERM."""


_held = False
_waiting: type[BaseException] | None = None


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise an exception, like an interrupt: finished runs remain, others stay queued.

    A second signal ends the process immediately, which is as safe for a study as SIGKILL.
    """
    global _waiting
    kinds: dict[int, type[BaseException]] = {signal.SIGTERM: Terminated}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # unless interrupts are ignored
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
    """Defer signals until the end of this block, or until a `deliver_signals` block within it."""
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
    """Deliver signals within this block, deferred ones first; an exception is safe here."""
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
