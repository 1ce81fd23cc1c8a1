"""Who does the work: executors with the interface of `concurrent.futures`, and the way back for progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.runs import EpochReport

OnEpoch = Callable[["EpochReport"], None]


@dataclass(frozen=True)
class Workforce:
    """An executor, how much it takes at once, and how its tasks tell of their epochs."""

    executor: Executor
    slots: int
    """Tasks kept in flight."""
    relay: Callable[[OnEpoch], OnEpoch]
    """Turns the driver's listener into one that a task can take along to where it runs."""


class InProcess(Executor):
    """Runs each task where and when it is submitted. An interrupt of the task reaches the submitter."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the function and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def in_process() -> Iterator[Workforce]:
    """The driver's own process, one task at a time."""
    with InProcess() as executor:
        yield Workforce(executor, slots=1, relay=lambda listener: listener)
