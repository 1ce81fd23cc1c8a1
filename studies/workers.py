"""Worker processes on this machine: one task each, and nobody else's work is lost when one of them dies."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from studies.executors import ATTEMPTS, OnEpoch, WorkersError, Workforce

_READY = -1
"""The ticket under which a worker says that it has started."""


@contextmanager
def local(environments: Sequence[Mapping[str, str]], *, attempts: int = ATTEMPTS) -> Iterator[Workforce]:
    """Worker processes, one for each set of environment variables, all gone at the end whatever they do."""
    workers = Workers(environments)
    try:
        yield Workforce(
            executor=workers,
            count=lambda: len(environments),
            relay=workers.relay,
            deliver=workers.deliver,
            deaths=(BrokenExecutor,),
            attempts=attempts,
        )
    finally:
        workers.end()


class Workers(Executor):
    """Processes that start afresh (spawn) when work first comes to them, and are replaced when they die.

    A `ProcessPoolExecutor` gives up all its processes when one dies, so each worker is a pool of its own.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Plan the workers; none starts yet."""
        self._workers = [_Worker(environment) for environment in environments]
        self._tickets = itertools.count()
        self._listeners: dict[int, OnEpoch] = {}
        self._stillborn = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand the call to a free worker.

        Raises:
            WorkersError: workers die one after the other before they have even started.
        """
        free = next((worker for worker in self._workers if worker.free), None)
        if free is None:
            raise RuntimeError("more tasks than workers")
        try:
            return free.submit(functools.partial(fn, *args, **kwargs))
        except BrokenExecutor:
            self.deliver()
            self._stillborn = 0 if free.ready else self._stillborn + 1
            if self._stillborn > 2 * len(self._workers) + 1:
                raise WorkersError(
                    f"worker processes do not start: {self._stillborn} died at once, one after the other"
                ) from None
            free.replace()
            return free.submit(functools.partial(fn, *args, **kwargs))

    def relay(self, listener: OnEpoch) -> OnEpoch:
        """Return a function that tells the listener from within a worker, once `deliver` is called here."""
        ticket = next(self._tickets)
        self._listeners[ticket] = listener
        return functools.partial(_tell, ticket)

    def deliver(self) -> None:
        """Pass on what the workers have told since."""
        for worker in self._workers:
            for ticket, report in worker.told():
                if ticket == _READY:
                    self._stillborn = 0
                else:
                    self._listeners[ticket](report)

    def end(self) -> None:
        """Kill all workers, and wait until they are gone."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()


class _Worker:
    """A pool of one process, and the pipe that it tells through.

    The pipe is its lifeline too: a worker ends when the driver's end closes, so it never outlives the driver.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._begin()

    def _begin(self) -> None:
        context = get_context("spawn")
        self.ready = False
        self._future: Future[Any] | None = None
        self._pipe, self._far = context.Pipe()
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_settle, initargs=(self._far, self._environment)
        )

    @property
    def free(self) -> bool:
        return self._future is None or self._future.done()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        self._future = None
        self._future = self._pool.submit(call)
        self._far.close()  # the process has its own by now: when it dies, reading here ends
        return self._future

    def told(self) -> Iterator[tuple[int, Any]]:
        with suppress(EOFError, OSError):
            while not self._pipe.closed and self._pipe.poll():
                ticket, report = self._pipe.recv()
                self.ready = True
                yield ticket, report

    def replace(self) -> None:
        self.kill()
        self.wait()
        self._begin()

    def kill(self) -> None:
        self._pipe.close()
        self._far.close()

    def wait(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


_line: Connection[Any, Any]
"""In a worker: the pipe to the driver."""


def _settle(line: Connection[Any, Any], environment: Mapping[str, str]) -> None:
    """Prepare a worker's process, before it imports what computes."""
    global _line
    _line = line
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the driver decides
    threading.Thread(target=_leave_with, args=(line,), daemon=True).start()
    _tell(_READY, None)


def _leave_with(line: Connection[Any, Any]) -> None:
    """End this process when the driver's end of the pipe closes; nothing else ever comes through it."""
    with suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)


def _tell(ticket: int, report: Any) -> None:
    with suppress(OSError):
        _line.send((ticket, report))
