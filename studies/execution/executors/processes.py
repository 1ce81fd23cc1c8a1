"""Worker processes on this machine: one task each, and nobody else's work is lost when one of them dies."""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from studies.execution.executors.base import ATTEMPTS, OnEpoch, WorkerPool, WorkersError
from studies.utils import descriptors

_READY = -1
"""The ticket under which a worker says that it has started."""

_GRACE = 2.0
"""Seconds that workers have to end by themselves, and again to end by SIGTERM, before they are killed."""

_DESCRIPTORS = 10
"""Files that the driver opens for one worker."""

_log = logging.getLogger(__name__)


@contextmanager
def local(environments: Sequence[Mapping[str, str]], *, attempts: int = ATTEMPTS) -> Iterator[WorkerPool]:
    """Worker processes, one for each set of environment variables, all gone at the end whatever they do."""
    workers = Workers(environments)
    try:
        yield WorkerPool(
            executor=workers,
            count=workers.count,
            forward_events=workers.forward_events,
            deliver=workers.deliver,
            worker_errors=(BrokenExecutor,),
            attempts=attempts,
        )
    finally:
        workers.end()


class Workers(Executor):
    """Processes that start afresh (spawn) when work first comes to them, and are replaced when they die.

    A `ProcessPoolExecutor` gives up all its processes when one dies, so each worker is a pool of its own.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Plan the workers; none starts yet, and no file is opened for one."""
        self._workers = [_Worker(environment) for environment in environments]
        self._tickets = itertools.count()
        self._listeners: dict[int, OnEpoch] = {}
        self._stillborn = 0
        self._told = False

    def count(self) -> int:
        """Return how many workers there may be, as far as the limit of open files allows.

        Raises:
            WorkersError: it allows none.
        """
        wanted = len(self._workers)
        started = sum(worker.started for worker in self._workers)
        if started == wanted:
            return wanted
        allowed = started + descriptors.room((wanted - started) * _DESCRIPTORS) // _DESCRIPTORS
        if allowed < 1:
            raise WorkersError(
                f"--workers {wanted}: the limit of open files ({descriptors.limit()}) allows no worker; "
                f"expected `ulimit -n {descriptors.needed(_DESCRIPTORS * wanted)}` or more"
            )
        if allowed < wanted and not self._told:
            self._told = True
            _log.warning(
                "starting %d of %d workers: the limit of open files (%s) allows no more; "
                "`ulimit -n %d` allows all",
                *(allowed, wanted, descriptors.limit(), descriptors.needed(_DESCRIPTORS * wanted)),
            )
        return min(allowed, wanted)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand the call to a free worker, one that has started if there is any.

        Raises:
            WorkersError: workers die one after the other before they have even started.
        """
        free = next(
            iter(sorted((each for each in self._workers if each.free), key=lambda each: not each.started)),
            None,
        )
        if free is None:
            raise RuntimeError("more tasks than workers")
        try:
            return free.submit(functools.partial(fn, *args, **kwargs))
        except BrokenExecutor:
            self.deliver()
            self._stillborn = 0 if free.ready else self._stillborn + 1
            if self._stillborn > 2 * len(self._workers) + 1:
                raise WorkersError(
                    f"worker processes do not start: {self._stillborn} in a row died during startup"
                ) from None
            _end([free])
            return free.submit(functools.partial(fn, *args, **kwargs))

    def forward_events(self, listener: OnEpoch) -> OnEpoch:
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
        """End all workers, those that do not answer too, and wait until they are gone."""
        _end(self._workers)


class _Worker:
    """A pool of one process, and the pipe that it tells through.

    The pipe is its lifeline too: a worker ends when the driver's end closes, so it never outlives the driver.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._pool: ProcessPoolExecutor | None = None
        self._future: Future[Any] | None = None
        self.processes: list[BaseProcess] = []
        self.ready = False

    @property
    def started(self) -> bool:
        return self._pool is not None

    @property
    def free(self) -> bool:
        return self._future is None or self._future.done()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        pool = self._pool or self._begin()
        self._future = None
        self._future = pool.submit(call)
        self.processes = list(pool._processes.values())  # the pool tells of them in no other way
        self._far.close()  # the process has its own by now: when it dies, reading here ends
        return self._future

    def told(self) -> Iterator[tuple[int, Any]]:
        with suppress(EOFError, OSError):
            while self._pool and not self._pipe.closed and self._pipe.poll():
                ticket, report = self._pipe.recv()
                self.ready = True
                yield ticket, report

    def let_go(self) -> None:
        """Close the pipe: the process ends, unless it is stopped or busy in code that is not Python."""
        if self._pool:
            self._pipe.close()
            self._far.close()

    def forget(self, *, wait: bool) -> None:
        """Give the pool up, so that the next call starts another process."""
        if self._pool:
            self._pool.shutdown(wait=wait, cancel_futures=True)
        self._pool, self._future, self.processes, self.ready = None, None, [], False

    def _begin(self) -> ProcessPoolExecutor:
        context = get_context("spawn")
        self._pipe, self._far = context.Pipe()
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_settle, initargs=(self._far, self._environment)
        )
        return self._pool


def _end(workers: Sequence[_Worker]) -> None:
    """Let workers end; terminate, then kill those that do not."""
    processes = [process for worker in workers for process in worker.processes]
    for worker in workers:
        worker.let_go()
    left = _left(processes)
    for stop in (BaseProcess.terminate, BaseProcess.kill):
        if left:
            _log.warning("%d worker processes do not respond and are terminated", len(left))
        for process in left:
            stop(process)
        left = _left(left)
    for worker in workers:
        worker.forget(wait=not left)


def _left(processes: Iterable[BaseProcess]) -> list[BaseProcess]:
    """Return the processes that are still there after the time of grace."""
    deadline, left = time.monotonic() + _GRACE, list(processes)
    while left and (patience := deadline - time.monotonic()) > 0:
        # The pools' own threads collect these processes: to ask for their exit codes here would be a race.
        gone = connection.wait([process.sentinel for process in left], timeout=patience)
        left = [process for process in left if process.sentinel not in gone]
    return left


_line: Connection[Any, Any]
"""In a worker: the pipe to the driver."""


def _settle(line: Connection[Any, Any], environment: Mapping[str, str]) -> None:
    """Prepare a worker's process, before it imports what computes."""
    global _line
    _line = line
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the driver decides
    _die_with_driver()
    threading.Thread(target=_leave_with, args=(line,), daemon=True).start()
    _tell(_READY, None)


def _die_with_driver() -> None:
    """Have the kernel kill this process when the driver's ends, even while this one is stopped."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _leave_with(line: Connection[Any, Any]) -> None:
    """End this process when the driver's end of the pipe closes; nothing else ever comes through it."""
    with suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)


def _tell(ticket: int, report: Any) -> None:
    with suppress(OSError):
        _line.send((ticket, report))
