"""Worker processes on this machine. The death of a worker does not affect the others."""

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

from studies.execution.events import OnEvent
from studies.execution.executors.base import ATTEMPTS, WorkerPool, WorkersError
from studies.utils import descriptors, formatting

_READY_TICKET = -1
"""The ticket of the message that a worker has started."""

_GRACE_SECONDS = 2.0
"""Seconds to wait for workers to exit, first by themselves and then after SIGTERM, before SIGKILL."""

_FILES_PER_WORKER = 10
"""Number of files that the driver opens for one worker."""

_log = logging.getLogger(__name__)


@contextmanager
def local(environments: Sequence[Mapping[str, str]], *, attempts: int = ATTEMPTS) -> Iterator[WorkerPool]:
    """Provide one worker process per set of environment variables. All processes end with the block.

    Args:
        environments: environment variables of each worker.
        attempts: maximum number of attempts of a task whose worker dies.
    """
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
    """An executor of spawned processes that start on their first task and are replaced when they die.

    A `ProcessPoolExecutor` breaks when one of its processes dies, so each worker is a separate pool.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Prepare the workers without starting a process or opening a file."""
        self._workers = [_Worker(environment) for environment in environments]
        self._tickets = itertools.count()
        self._listeners: dict[int, OnEvent] = {}
        self._failed_starts = 0
        self._warned = False

    def count(self) -> int:
        """Return the number of workers that the limit of open files allows.

        Raises:
            WorkersError: the limit allows no worker.
        """
        wanted = len(self._workers)
        started = sum(worker.started for worker in self._workers)
        if started == wanted:
            return wanted
        allowed = (
            started + descriptors.affordable((wanted - started) * _FILES_PER_WORKER) // _FILES_PER_WORKER
        )
        if allowed < 1:
            raise WorkersError(
                f"--workers {wanted}: the limit of open files ({descriptors.limit()}) allows no worker; "
                f"expected `ulimit -n {descriptors.needed(_FILES_PER_WORKER * wanted)}` or more"
            )
        if allowed < wanted and not self._warned:
            self._warned = True
            _log.warning(
                "starting %d of %d workers: the limit of open files (%s) allows no more; "
                "`ulimit -n %d` allows all",
                *(allowed, wanted, descriptors.limit(), descriptors.needed(_FILES_PER_WORKER * wanted)),
            )
        return min(allowed, wanted)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit the call to a free worker, preferably one that has started.

        Args:
            fn: a picklable function.
            *args: its positional arguments.
            **kwargs: its keyword arguments.

        Returns:
            The future of the result.

        Raises:
            WorkersError: several workers in a row died during startup.
            RuntimeError: all workers are busy.
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
            self._failed_starts = 0 if free.ready else self._failed_starts + 1
            if self._failed_starts > 2 * len(self._workers) + 1:
                raise WorkersError(
                    f"worker processes do not start: {self._failed_starts} in a row died during startup"
                ) from None
            _end([free])
            return free.submit(functools.partial(fn, *args, **kwargs))

    def forward_events(self, listener: OnEvent) -> OnEvent:
        """Return a picklable function that forwards events from a worker via `deliver`.

        Args:
            listener: called in this process with each event.
        """
        ticket = next(self._tickets)
        self._listeners[ticket] = listener
        return functools.partial(_send_event, ticket)

    def deliver(self) -> None:
        """Call the listeners with the events received from the workers."""
        for worker in self._workers:
            for ticket, report in worker.events():
                if ticket == _READY_TICKET:
                    self._failed_starts = 0
                else:
                    self._listeners[ticket](report)

    def end(self) -> None:
        """Stop all workers, if necessary by force, and wait for them to exit."""
        _end(self._workers)


class _Worker:
    """A pool of one process, and the pipe for its events.

    The process exits when the driver's end of the pipe closes, so it never outlives the driver.
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
        self.processes = list(pool._processes.values())  # the pool has no public access to its processes
        self._worker_end.close()  # the process holds its own copy: reading ends when the process dies
        return self._future

    def events(self) -> Iterator[tuple[int, Any]]:
        with suppress(EOFError, OSError):
            while self._pool and not self._pipe.closed and self._pipe.poll():
                ticket, report = self._pipe.recv()
                self.ready = True
                yield ticket, report

    def close_pipe(self) -> None:
        """Close the pipe. The process exits unless it is stopped or busy in native code."""
        if self._pool:
            self._pipe.close()
            self._worker_end.close()

    def discard(self, *, wait: bool) -> None:
        """Discard the pool; the next call starts a new process."""
        if self._pool:
            self._pool.shutdown(wait=wait, cancel_futures=True)
        self._pool, self._future, self.processes, self.ready = None, None, [], False

    def _begin(self) -> ProcessPoolExecutor:
        context = get_context("spawn")
        self._pipe, self._worker_end = context.Pipe()
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=_initialize_worker,
            initargs=(self._worker_end, self._environment),
        )
        return self._pool


def _end(workers: Sequence[_Worker]) -> None:
    """Let workers exit; terminate, and then kill, those that do not."""
    processes = [process for worker in workers for process in worker.processes]
    for worker in workers:
        worker.close_pipe()
    left = _still_running(processes)
    for stop in (BaseProcess.terminate, BaseProcess.kill):
        if left:
            _log.warning("terminating %s without response", formatting.count(len(left), "worker"))
        for process in left:
            stop(process)
        left = _still_running(left)
    for worker in workers:
        worker.discard(wait=not left)


def _still_running(processes: Iterable[BaseProcess]) -> list[BaseProcess]:
    """Return the processes that are still running after the grace period."""
    deadline, left = time.monotonic() + _GRACE_SECONDS, list(processes)
    while left and (patience := deadline - time.monotonic()) > 0:
        # The pools' threads join these processes: reading exit codes here would be a race.
        gone = connection.wait([process.sentinel for process in left], timeout=patience)
        left = [process for process in left if process.sentinel not in gone]
    return left


_driver_pipe: Connection[Any, Any]
"""The pipe to the driver, set in a worker."""


def _initialize_worker(pipe: Connection[Any, Any], environment: Mapping[str, str]) -> None:
    """Initialize a worker process before it imports numerical libraries."""
    global _driver_pipe
    _driver_pipe = pipe
    os.environ.update(environment)
    # Ctrl-C reaches every process of a terminal; the driver handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _request_death_signal()
    threading.Thread(target=_exit_with_driver, args=(pipe,), daemon=True).start()
    _send_event(_READY_TICKET, None)


def _request_death_signal() -> None:
    """Ask the kernel to kill this process when the driver exits, even if this process is stopped."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _exit_with_driver(pipe: Connection[Any, Any]) -> None:
    """Exit this process when the driver's end of the pipe closes; the driver never sends data."""
    with suppress(EOFError, OSError):
        pipe.recv_bytes()
    os._exit(1)


def _send_event(ticket: int, report: Any) -> None:
    with suppress(OSError):
        _driver_pipe.send((ticket, report))
