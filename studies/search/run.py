"""Searches: the driver works on trials of a sampler until a budget is spent."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from moevae.config.overrides import fingerprint
from moevae.config.schema import RunConfig
from studies.design.cells import Cell
from studies.execution.driver import drive
from studies.execution.executors.base import WorkerPool
from studies.execution.experiment import Experiment, RunFunction
from studies.execution.plan import Task
from studies.execution.pruning import Stoppable
from studies.records import study_file
from studies.records.schema import Record
from studies.search import search as searches
from studies.search.search import Search
from studies.search.trials import Attempt, SearchTrials
from studies.storage.connection import StorageError

if TYPE_CHECKING:
    from studies.execution.events import EpochReport, EvaluationReport


PAUSE = 20
"""Minimum time between two writes of `study.json`, in units of the duration of the last one."""


class SearchCallbacks(Protocol):
    """Receives the progress of a search."""

    def begin(self, search: Search, ended: int, budget: int) -> None:
        """Called when the driver owns the search.

        Args:
            search: the search.
            ended: number of trials that have ended.
            budget: number of trials to end.
        """

    def epoch(self, attempt: Attempt, report: EpochReport) -> None:
        """Called when the runs of a trial have finished an epoch.

        Args:
            attempt: the trial in training.
            report: losses and metrics of the epoch.
        """

    def evaluation(self, attempt: Attempt, report: EvaluationReport) -> None:
        """Called when the runs of a trial have evaluated a block of images.

        Args:
            attempt: the trial.
            report: number of evaluated images.
        """

    def ended(self, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> None:
        """Called when a trial has ended.

        Args:
            trial: the trial.
            best: the best trials so far.
        """


@dataclass(frozen=True)
class Budget:
    """The limits of a search."""

    trials: int
    """Number of ended trials, including those of earlier starts."""
    seconds: float | None = None
    """Time after which no trial starts, in seconds from this start."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    trials: tuple[FrozenTrial, ...]
    """All complete, pruned and failed trials, in order."""
    best: tuple[FrozenTrial, ...]
    """The best trial, or the Pareto front sorted by the first objective; empty if no trial is complete."""
    trained: int
    """Number of runs recorded by this start."""


def run_search(
    search: Search,
    folder: Path,
    run: RunFunction,
    *,
    budget: Budget,
    worker_pool: WorkerPool,
    callbacks: SearchCallbacks,
    sampler: str = "tpe",
    pruner: str = "median",
    **options: Any,
) -> SearchResult:
    """Run trials until the budget is spent. Each finished run is recorded, and none is repeated.

    Args:
        search: the space, the objectives and the base configuration.
        folder: the folder of the study, created if needed.
        run: trains the runs of one trial.
        budget: how many trials, or how long.
        worker_pool: the executor of the trials.
        callbacks: receives the progress.
        sampler: a name in SAMPLERS.
        pruner: a name in PRUNERS; with several objectives nothing is pruned.
        options: those of `studies.execution.driver.drive`. The preflight gets the base configuration.

    Raises:
        MoevaeError: see `studies.execution.driver.drive`.
    """
    attempts: list[_Attempts] = []
    with tempfile.TemporaryDirectory() as flags:

        def load() -> _Attempts:
            searches.check_same(search, folder)
            found = _Attempts(search, folder, Path(flags), budget, callbacks, sampler, pruner)
            attempts.append(found)
            return found

        trained = drive(load, folder, run, worker_pool=worker_pool, **options)
    trials = attempts[0].trials
    return SearchResult(tuple(trials.finished()), tuple(trials.best()), len(trained))


class _Attempts(Experiment):
    """The trials of a search, begun until the budget is spent."""

    def __init__(
        self,
        search: Search,
        folder: Path,
        flags: Path,
        budget: Budget,
        callbacks: SearchCallbacks,
        sampler: str,
        pruner: str,
    ) -> None:
        self.name = search.name
        self._search, self._folder, self._flags = search, folder, flags
        self._budget, self._callbacks = budget, callbacks
        self._sampler, self._pruner = sampler, pruner
        self._listed, self._recorded = searches.plan_of_search(search, folder)
        self._open: dict[str, list[Attempt]] = {}
        """Trials by the key of their cell; the first one is in training, and the others end with it."""

    @property
    def records(self) -> list[Record]:
        return [record for found in self._recorded.values() for record in found.values()]

    @property
    def unchecked(self) -> list[RunConfig]:
        return [self._search.base]

    def describe(self, *, shared: bool = False) -> None:
        begun = time.monotonic()
        tree = self._search.to_dict(list(self._listed.values()))
        study_file.write(self._folder, tree, shared=shared)
        self._described = len(self._listed)
        ended = time.monotonic()
        self._due = ended + PAUSE * (ended - begun)

    def begin(self, opened: BaseStorage, slots: int) -> None:
        names = {"sampler": self._sampler, "pruner": self._pruner}
        self.trials = SearchTrials(opened, self._search, self._folder, **names)
        recorded = {key: list(found.values()) for key, found in self._recorded.items()}
        self.trials.reconcile(list(self._listed.values()), recorded)
        ended = len(self.trials.finished())
        self._callbacks.begin(self._search, ended, self._budget.trials)
        self._left = self._budget.trials - ended
        seconds = self._budget.seconds
        self._deadline = float("inf") if seconds is None else time.monotonic() + seconds

    def next(self) -> Task | None:
        while self._left > 0 and time.monotonic() < self._deadline:
            self._left -= 1
            attempt = self.trials.ask()
            same = self._open.setdefault(attempt.cell.key, [])
            same.append(attempt)
            if len(same) > 1:
                continue  # a cell is never trained twice
            if missing := self._missing(attempt.cell):
                return Task(attempt.cell, missing)
            self._settle(attempt.cell)
        return None

    def function(self, run: RunFunction, task: Task) -> Stoppable:
        return Stoppable(run, str(self._flag(task)))

    def epoch(self, task: Task, report: EpochReport) -> None:
        attempt = self._open[task.cell.key][0]
        stop = self.trials.follow(attempt, report.epoch, report.metrics)
        self._callbacks.epoch(attempt, report)
        if stop and report.epoch < report.epochs:
            self._flag(task).touch()

    def evaluation(self, task: Task, report: EvaluationReport) -> None:
        self._callbacks.evaluation(self._open[task.cell.key][0], report)

    def done(self, task: Task, made: Sequence[Record]) -> None:
        self._recorded[task.cell.key].update((record.fingerprint, record) for record in made)
        self._settle(task.cell)

    def stopped(self, task: Task) -> None:
        for attempt in self._open.pop(task.cell.key):
            self._callbacks.ended(self.trials.prune(attempt), self.trials.best())

    def release(self) -> None:
        for attempt in (each for same in self._open.values() for each in same):
            with suppress(StorageError):
                self.trials.release(attempt)
        if self._described < len(self._listed):
            self.describe()

    def _missing(self, cell: Cell) -> tuple[RunConfig, ...]:
        there = self._recorded.setdefault(cell.key, {})
        runs = (cell.run(seed) for seed in self._search.seeds)
        return tuple(run for run in runs if fingerprint(run) not in there)

    def _settle(self, cell: Cell) -> None:
        """End the trials of a cell whose runs all have records, and list it in `study.json`.

        The file lists all cells, so the time of writing it grows with the search; it is not written after
        every short trial. After a crash, the missing cells are found from the records.
        """
        self._listed.setdefault(cell.key, cell)
        if self._described < len(self._listed) and time.monotonic() >= self._due:
            self.describe()
        recorded = list(self._recorded[cell.key].values())
        for attempt in self._open.pop(cell.key):
            self._callbacks.ended(self.trials.end(attempt, recorded), self.trials.best())

    def _flag(self, task: Task) -> Path:
        """Return the file whose existence stops a task."""
        return self._flags / str(self._open[task.cell.key][0].number)
