"""The interface between a driver and its work: run functions, and experiments that provide tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from optuna.storages import BaseStorage

from moevae.config.schema import RunConfig
from studies.execution.events import EpochReport, EvaluationReport, OnEvent
from studies.execution.plan import Task
from studies.execution.pruning import Stopped
from studies.records.schema import Method, Outcome, Record


class RunFunction(Protocol):
    """Trains the runs of one cell together. An implementation must be picklable."""

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_event: OnEvent | None, method: Method | None = None
    ) -> list[Outcome]:
        """Train the runs, or fit a baseline, and return one outcome per run, in order."""


class WorkerLost(Protocol):
    """Creates the outcomes of runs that raised an exception or whose worker died."""

    def __call__(
        self, configs: Sequence[RunConfig], reason: str, /, *, method: Method | None = None
    ) -> list[Outcome]:
        """Return one outcome per run, in order."""


class Experiment(ABC):
    """The work of a driver: it provides one task after another, and keeps the trials up to date.

    It is created when the driver holds the lock of the folder, and writes nothing before `describe`.
    """

    name: str
    """Name of the study in the storage."""
    divides = False
    """Whether runs that train together are repeated one by one if one of them raises an exception."""

    @property
    @abstractmethod
    def records(self) -> Iterable[Record]:
        """The records of earlier starts."""

    @property
    @abstractmethod
    def unchecked(self) -> Sequence[RunConfig]:
        """Configurations to check before anything is written."""

    @abstractmethod
    def describe(self, *, shared: bool = False) -> None:
        """Write `study.json`.

        Args:
            shared: whether the storage may hold studies of other folders.
        """

    @abstractmethod
    def begin(self, opened: BaseStorage, slots: int) -> None:
        """Update the trials in the storage from the records.

        Args:
            opened: the storage.
            slots: number of tasks that can run at the same time.
        """

    @abstractmethod
    def next(self) -> Task | None:
        """Mark a task as begun and return it, or None if there is nothing to submit now."""

    def function(self, run: RunFunction, task: Task) -> Callable[..., list[Outcome] | Stopped]:
        """Return the function of a task.

        Args:
            run: the function that trains runs.
            task: the task.
        """
        return run if task.cell.method is None else partial(run, method=task.cell.method)

    @abstractmethod
    def epoch(self, task: Task, report: EpochReport) -> None:
        """Record that a task has finished an epoch.

        Args:
            task: the task.
            report: losses and metrics of the epoch.
        """

    @abstractmethod
    def evaluation(self, task: Task, report: EvaluationReport) -> None:
        """Record that a task has evaluated a block of images.

        Args:
            task: the task.
            report: number of evaluated images.
        """

    @abstractmethod
    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Record that the records of a task are written.

        Args:
            task: the task.
            made: the records, one per run.
        """

    def stopped(self, task: Task) -> None:
        """Record that a task was stopped; required only if `function` may return `Stopped`.

        Args:
            task: the task.

        Raises:
            TypeError: the experiment has no tasks that stop.
        """
        raise TypeError(f"{type(self).__name__} has no tasks that stop")

    @abstractmethod
    def release(self) -> None:
        """Return the trials that have not ended to the queue of the next start."""
