"""The driver of a search: it asks for trials, has their runs done, stops poor ones, publishes the rest."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from optuna.trial import FrozenTrial

from moevae.config import RunConfig, fingerprint
from studies import ledger, locks, records, searches, storage
from studies.attempts import Attempt, Attempts
from studies.designs import Cell
from studies.engine import Run
from studies.executors import OnEpoch, Workforce
from studies.records import Outcome, Record
from studies.searches import Search

if TYPE_CHECKING:
    from studies.runs import EpochReport


class Watch(Protocol):
    """Is told how the search goes."""

    def begin(self, search: Search, ended: int, budget: int) -> None:
        """The search is owned; so many of its trials have ended."""

    def epoch(self, attempt: Attempt, report: EpochReport) -> None:
        """A trial's runs ended an epoch."""

    def ended(self, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> None:
        """A trial ended; these are the best so far."""


@dataclass(frozen=True)
class Budget:
    """When a search is over."""

    trials: int
    """Ended ones, those of earlier starts included."""
    seconds: float | None = None
    """After which no trial is begun; counted from this start."""


@dataclass(frozen=True)
class Found:
    """What a search has come to."""

    trials: tuple[FrozenTrial, ...]
    """All that have ended, whichever way, in order."""
    best: tuple[FrozenTrial, ...]
    """One, or the Pareto front by its first objective; empty if no trial is complete."""
    trained: int
    """Runs recorded by this start."""


@dataclass(frozen=True)
class Stoppable:
    """A run function that gives nothing back once a file exists: it looks after every epoch.

    It travels to other processes of this machine; on another machine the file never exists, and a
    trial that should stop runs on to its end.
    """

    run: Run
    flag: str

    def __call__(self, configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None) -> list[Outcome]:
        """Train, telling of each epoch; an empty list if stopped."""

        def told(report: EpochReport) -> None:
            if on_epoch:
                on_epoch(report)
            if Path(self.flag).exists():
                raise _StoppedError

        try:
            return self.run(configs, on_epoch=told)
        except _StoppedError:
            return []


class _StoppedError(Exception):
    """The driver has seen enough of this trial."""


@dataclass
class _Driver:
    """The state of a search while it runs."""

    search: Search
    folder: Path
    run: Run
    workforce: Workforce
    watch: Watch
    attempts: Attempts
    flags: Path
    recorded: dict[str, dict[str, Record]]
    """By the key of the cell and the fingerprint."""
    listed: dict[str, Cell]
    """Cells that left records, in the order of their trials."""
    running: dict[Future[list[Outcome]], tuple[Attempt, tuple[RunConfig, ...]]] = field(default_factory=dict)
    twins: list[Attempt] = field(default_factory=list)
    """Trials of a cell that another trial is at."""
    trained: int = 0

    def work(self, budget: Budget) -> None:
        """Keep the workforce busy until the budget is spent and every trial that was begun has ended."""
        deadline = None if budget.seconds is None else time.monotonic() + budget.seconds
        left = budget.trials - len(self.attempts.finished())
        try:
            while True:
                while left > 0 and len(self.running) < self.workforce.slots and not _past(deadline):
                    left -= 1
                    self._begin(self.attempts.ask())
                if not self.running:
                    break
                for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                    self._end(*self.running[future], outcomes=future.result())
                    del self.running[future]
        finally:
            for attempt in [*(attempt for attempt, _ in self.running.values()), *self.twins]:
                self.attempts.release(attempt)

    def _begin(self, attempt: Attempt) -> None:
        if any(other.cell.key == attempt.cell.key for other, _ in self.running.values()):
            self.twins.append(attempt)
            return
        there = self.recorded.setdefault(attempt.cell.key, {})
        runs = [attempt.cell.run(seed) for seed in self.search.seeds]
        missing = tuple(run for run in runs if fingerprint(run) not in there)
        if not missing:
            self._settle(attempt)
            return
        flag = self.flags / str(attempt.number)
        listener = self.workforce.relay(functools.partial(self._epoch, attempt, flag))
        future = self.workforce.executor.submit(Stoppable(self.run, str(flag)), missing, on_epoch=listener)
        self.running[future] = attempt, missing

    def _epoch(self, attempt: Attempt, flag: Path, report: EpochReport) -> None:
        stop = self.attempts.follow(attempt, report.epoch, report.metrics)
        self.watch.epoch(attempt, report)
        if stop and report.epoch < report.epochs:
            flag.touch()

    def _end(self, attempt: Attempt, asked: Sequence[RunConfig], outcomes: Sequence[Outcome]) -> None:
        twins = [twin for twin in self.twins if twin.cell.key == attempt.cell.key]
        self.twins = [twin for twin in self.twins if twin not in twins]
        if not outcomes:
            for pruned in (attempt, *twins):
                self.watch.ended(self.attempts.prune(pruned), self.attempts.best())
            return
        if [outcome.record.fingerprint for outcome in outcomes] != [fingerprint(config) for config in asked]:
            raise RuntimeError(f"{attempt.cell.label}: the run function did not return the runs it was given")
        for outcome in outcomes:
            records.publish(self.folder, outcome)
            self.recorded[attempt.cell.key][outcome.record.fingerprint] = outcome.record
        self.trained += len(outcomes)
        for ended in (attempt, *twins):
            self._settle(ended)

    def _settle(self, attempt: Attempt) -> None:
        """End a trial whose runs all have records; the study lists its cell first."""
        if attempt.cell.key not in self.listed:
            self.listed[attempt.cell.key] = attempt.cell
            self.describe()
        trial = self.attempts.end(attempt, list(self.recorded[attempt.cell.key].values()))
        self.watch.ended(trial, self.attempts.best())

    def describe(self) -> None:
        """Write `study.json`."""
        ledger.write_tree(self.search.to_dict(list(self.listed.values())), self.folder)


def run_search(
    search: Search,
    folder: Path,
    run: Run,
    *,
    budget: Budget,
    workforce: Workforce,
    watch: Watch,
    sampler: str = "tpe",
    pruner: str = "median",
    storage_url: str | None = None,
    preflight: Callable[[Sequence[RunConfig]], None] = lambda configs: None,
) -> Found:
    """Search until the budget is spent. Every run that ends leaves a record, and none is done twice.

    Args:
        search: where to look, and for what.
        folder: the study's own, made if need be.
        run: trains the runs of one trial.
        budget: how many trials, or how long.
        workforce: where trials run.
        watch: is told how it goes.
        sampler: a name from `attempts.SAMPLERS`.
        pruner: a name from `attempts.PRUNERS`; with several objectives nothing is pruned.
        storage_url: Optuna's storage; a SQLite file in the folder if None.
        preflight: is given the base before anything is written, and raises what a person can mend.

    Raises:
        MoevaeError: the study is owned by another driver, the folder or the storage holds another
            study, or the data is not there. What was published stays.
    """
    with locks.hold(folder):
        searches.check_same(search, folder)
        preflight([search.base])
        listed, recorded = searches.survey(search, folder)
        with (
            storage.opened(storage_url or storage.default_url(folder)) as opened,
            tempfile.TemporaryDirectory() as flags,
        ):
            attempts = Attempts(
                opened, search, folder, private=storage_url is None, sampler=sampler, pruner=pruner
            )
            attempts.reconcile(
                list(listed.values()), {key: list(found.values()) for key, found in recorded.items()}
            )
            driver = _Driver(search, folder, run, workforce, watch, attempts, Path(flags), recorded, listed)
            driver.describe()
            watch.begin(search, len(attempts.finished()), budget.trials)
            driver.work(budget)
            return Found(tuple(attempts.finished()), tuple(attempts.best()), driver.trained)


def _past(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
