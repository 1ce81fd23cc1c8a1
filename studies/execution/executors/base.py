"""Worker pools: an executor with the interface of `concurrent.futures`, and progress events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moevae.errors import MoevaeError
from studies.execution.events import OnEvent
from studies.utils import signals

ATTEMPTS = 5
"""Default of `WorkerPool.attempts`."""


class WorkersError(MoevaeError):
    """Raised when workers are not available or die repeatedly."""


@dataclass(frozen=True)
class WorkerPool:
    """An executor, its capacity, and the channel for the progress of its tasks."""

    executor: Executor
    count: Callable[[], int]
    """Returns the number of tasks that can run at the same time now."""
    forward_events: Callable[[OnEvent], OnEvent]
    """Converts a listener of the driver into one that can be sent to a worker."""
    deliver: Callable[[], None] = lambda: None
    """Calls the listeners, in the driver's thread, with the events received since the last call."""
    worker_errors: tuple[type[Exception], ...] = ()
    """Exceptions of a future whose worker died; the task is then submitted again."""
    attempts: int = ATTEMPTS
    """Maximum number of attempts of a task whose workers die, before its runs count as failed."""

    @property
    def slots(self) -> int:
        """Number of tasks to keep in flight now."""
        return self.count()


class InProcess(Executor):
    """Runs each task in the submitting thread. An interrupt of the task propagates to the caller."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the function and return a finished future.

        Args:
            fn: the function.
            *args: its positional arguments.
            **kwargs: its keyword arguments.
        """
        future: Future[Any] = Future()
        try:
            with signals.deliver_signals():
                result = fn(*args, **kwargs)
            future.set_result(result)
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def in_process() -> Iterator[WorkerPool]:
    """Provide a pool that runs one task at a time in the driver's process."""
    with InProcess() as executor:
        yield WorkerPool(executor, count=lambda: 1, forward_events=lambda listener: listener)
