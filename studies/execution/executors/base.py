"""Who does the work: executors with the interface of `concurrent.futures`, and the way back for progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moevae.errors import MoevaeError
from studies.utils import signals

if TYPE_CHECKING:
    from studies.execution.events import EpochReport

OnEpoch = Callable[["EpochReport"], None]

ATTEMPTS = 5


class WorkersError(MoevaeError):
    """Workers that cannot be had, or that die."""


@dataclass(frozen=True)
class WorkerPool:
    """An executor, how much it takes at once, and how its tasks tell of their epochs."""

    executor: Executor
    count: Callable[[], int]
    """Tells how many tasks it takes at once, now."""
    forward_events: Callable[[OnEpoch], OnEpoch]
    """Turns the driver's listener into one that a task can take along to where it runs."""
    deliver: Callable[[], None] = lambda: None
    """Calls the listeners, in the driver's thread, with what tasks have told since."""
    worker_errors: tuple[type[Exception], ...] = ()
    """What a future raises when its worker died: the task is to be done by another."""
    attempts: int = ATTEMPTS
    """How often a task is begun, if its workers die, before its runs count as failed."""

    @property
    def slots(self) -> int:
        """Tasks to keep in flight, now."""
        return self.count()


class InProcess(Executor):
    """Runs each task where and when it is submitted. An interrupt of the task reaches the submitter."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the function and return its finished future."""
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
    """The driver's own process, one task at a time."""
    with InProcess() as executor:
        yield WorkerPool(executor, count=lambda: 1, forward_events=lambda listener: listener)
