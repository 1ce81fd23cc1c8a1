"""The driver of a search: it asks for trials, submits their runs, prunes trials and writes records."""

from __future__ import annotations

import functools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from optuna.trial import FrozenTrial

from moevae.config.overrides import fingerprint
from moevae.config.schema import RunConfig
from moevae.errors import MoevaeError
from studies.design.design import Cell
from studies.execution.driver import Lost, RunFunction
from studies.execution.executors.base import OnEpoch, WorkerPool, WorkersError
from studies.execution.failures import Guarded, Raised, Streak
from studies.execution.plan import write_tree
from studies.records import lock, store
from studies.records.origins import Origins
from studies.records.schema import Outcome, Record
from studies.search import search as searches
from studies.search.search import Search
from studies.search.trials import Attempt, SearchTrials
from studies.storage import open as storage
from studies.storage import ownership
from studies.storage.open import StorageError
from studies.utils import signals
from studies.utils.silence import Silence

if TYPE_CHECKING:
    from studies.execution.events import EpochReport

_MOMENT = 0.1
"""Seconds between checks for progress."""


class SearchCallbacks(Protocol):
    """Receives the progress of a search."""

    def begin(self, search: Search, ended: int, budget: int) -> None:
        """Called when the driver owns the search, with the number of ended trials and the budget."""

    def epoch(self, attempt: Attempt, report: EpochReport) -> None:
        """Called when the runs of a trial have finished an epoch."""

    def ended(self, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> None:
        """Called when a trial has ended, with the best trials so far."""


@dataclass(frozen=True)
class Budget:
    """The limits of a search."""

    trials: int
    """Number of ended trials, including those of earlier starts."""
    seconds: float | None = None
    """Time after which no trial starts, in seconds from this start."""


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    trials: tuple[FrozenTrial, ...]
    """All complete, pruned and failed trials, in order."""
    best: tuple[FrozenTrial, ...]
    """The best trial, or the Pareto front sorted by the first objective; empty if no trial is complete."""
    trained: int
    """Number of runs recorded by this start."""


@dataclass(frozen=True)
class Stoppable:
    """A run function that stops after an epoch if a file exists, and then returns nothing.

    It works in other processes of this machine. On another machine the file never exists, and a pruned
    trial runs to its end.
    """

    run: RunFunction
    flag: str

    def __call__(self, configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None) -> list[Outcome]:
        """Train the runs and return one outcome per run, or an empty list if stopped."""

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
    """Raised in a run of a pruned trial."""


@dataclass
class _Driver:
    """The work of one driver on a search: it asks for trials, runs them and ends them."""

    search: Search
    folder: Path
    run: RunFunction
    lost: Lost | None
    workforce: WorkerPool
    watch: SearchCallbacks
    attempts: SearchTrials
    flags: Path
    origins: Origins
    recorded: dict[str, dict[str, Record]]
    """The records, by the key of the cell and the fingerprint."""
    listed: dict[str, Cell]
    """The cells that have records, in the order of their trials."""

    def __post_init__(self) -> None:
        self._running: dict[Future[list[Outcome] | Raised], Attempt] = {}
        self._streak, self._silence = Streak(), Silence()
        self._begun: Counter[int] = Counter()
        self._duplicates: list[Attempt] = []
        self._open: dict[int, Attempt] = {}
        self.trained = 0

    @signals.defer_signals()
    def work(self, budget: Budget) -> None:
        """Run trials until the budget is spent and all started trials have ended."""
        deadline = None if budget.seconds is None else time.monotonic() + budget.seconds
        left = budget.trials - len(self.attempts.finished())
        try:
            while True:
                while left > 0 and len(self._running) < self.workforce.slots and not _past(deadline):
                    left -= 1
                    self._begin(self.attempts.ask())
                if not self._running:
                    return
                self._gather()
        finally:
            self._keep_finished()
            for attempt in self._open.values():
                with suppress(StorageError):
                    self.attempts.release(attempt)

    def describe(self) -> None:
        """Write `study.json`."""
        write_tree(self.search.to_dict(list(self.listed.values())), self.folder)

    def _begin(self, attempt: Attempt) -> None:
        self._open[attempt.number] = attempt
        key = attempt.cell.key
        if any(other.cell.key == key for other in self._running.values()):
            self._duplicates.append(
                attempt
            )  # a cell is never trained twice: a duplicate ends with the first trial
        elif self._missing(attempt):
            self._submit(attempt)
        else:
            self._settle(attempt)

    def _missing(self, attempt: Attempt) -> tuple[RunConfig, ...]:
        there = self.recorded.setdefault(attempt.cell.key, {})
        runs = (attempt.cell.run(seed) for seed in self.search.seeds)
        return tuple(run for run in runs if fingerprint(run) not in there)

    def _submit(self, attempt: Attempt) -> None:
        self._begun[attempt.number] += 1
        flag = self.flags / str(attempt.number)
        listener = self.workforce.forward_events(functools.partial(self._epoch, attempt, flag))
        stoppable = Stoppable(self.run, str(flag))
        run = Guarded(stoppable, self.workforce.worker_errors) if self.lost else stoppable
        future = self.workforce.executor.submit(run, self._missing(attempt), on_epoch=listener)
        self._running[future] = attempt

    @signals.defer_signals()
    def _epoch(self, attempt: Attempt, flag: Path, report: EpochReport) -> None:
        self._silence.end()
        stop = self.attempts.follow(attempt, report.epoch, report.metrics)
        self.watch.epoch(attempt, report)
        if stop and report.epoch < report.epochs:
            flag.touch()

    def _gather(self) -> None:
        """Wait briefly for runs to finish, and end their trials."""
        with signals.deliver_signals():
            finished = wait(self._running, timeout=_MOMENT, return_when=FIRST_COMPLETED).done
        self.workforce.deliver()
        for future in finished:
            self._silence.end()
            attempt = self._running[future]
            try:
                outcomes = future.result()
            except self.workforce.worker_errors as death:
                del self._running[future]
                self._after_death(attempt, death)
                continue
            if isinstance(outcomes, Raised):
                self._lose(attempt, outcomes)
            else:
                self._end(attempt, outcomes)
                self._streak.end()
            del self._running[future]
        self._silence.tell(attempt.cell.label for attempt in self._running.values())

    def _keep_finished(self) -> None:
        """Publish the runs that finished just before an interrupt; the next start ends their trials."""
        for future in self._running:
            if future.done() and not future.cancelled() and not future.exception():
                outcomes = future.result()
                with suppress(MoevaeError):
                    for outcome in [] if isinstance(outcomes, Raised) else outcomes:
                        self.origins.admit(outcome.record)
                        store.write_record(self.folder, outcome)

    def _after_death(self, attempt: Attempt, death: Exception) -> None:
        begun = self._begun[attempt.number]
        if begun < self.workforce.attempts:
            self._submit(attempt)
            return
        reason = f"its worker died {begun} times; a possible cause is a lack of memory"
        if self.lost is None:
            raise WorkersError(f"{attempt.cell.label}: {reason}") from death
        self._lose(attempt, Raised(type(death).__name__, reason))

    def _lose(self, attempt: Attempt, raised: Raised) -> None:
        """Record the runs of a trial as failed."""
        assert self.lost is not None
        self._end(attempt, self.lost(self._missing(attempt), raised.reason))
        self._streak.note(raised.kind, raised.reason)

    def _end(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """Publish the outcomes of a trial, and end it and its duplicates.

        Without outcomes the trial was pruned.
        """
        names = [outcome.record.fingerprint for outcome in outcomes]
        if outcomes and names != [fingerprint(config) for config in self._missing(attempt)]:
            raise RuntimeError(f"{attempt.cell.label}: the run function did not return the runs it was given")
        for outcome in outcomes:
            self.origins.admit(outcome.record)
            store.write_record(self.folder, outcome)
            self.recorded[attempt.cell.key][outcome.record.fingerprint] = outcome.record
        self.trained += len(outcomes)
        duplicates = [duplicate for duplicate in self._duplicates if duplicate.cell.key == attempt.cell.key]
        self._duplicates = [duplicate for duplicate in self._duplicates if duplicate not in duplicates]
        for ended in (attempt, *duplicates):
            if outcomes:
                self._settle(ended)
            else:
                self._close(ended, self.attempts.prune(ended))

    def _settle(self, attempt: Attempt) -> None:
        """End a trial whose runs all have records, after adding its cell to `study.json`."""
        key = attempt.cell.key
        if key not in self.listed:
            self.listed[key] = attempt.cell
            self.describe()
        self._close(attempt, self.attempts.end(attempt, list(self.recorded[key].values())))

    def _close(self, attempt: Attempt, trial: FrozenTrial) -> None:
        del self._open[attempt.number]
        self.watch.ended(trial, self.attempts.best())


def run_search(
    search: Search,
    folder: Path,
    run: RunFunction,
    *,
    budget: Budget,
    workforce: WorkerPool,
    watch: SearchCallbacks,
    sampler: str = "tpe",
    pruner: str = "median",
    storage_url: str | None = None,
    preflight: Callable[[Sequence[RunConfig]], None] = lambda configs: None,
    lost: Lost | None = None,
    origins: Origins | None = None,
) -> Found:
    """Run trials until the budget is spent. Each finished run is recorded, and none is repeated.

    Args:
        search: the space, the objectives and the base configuration.
        folder: the folder of the study, created if needed.
        run: trains the runs of one trial.
        budget: how many trials, or how long.
        workforce: where trials run.
        watch: is told how it goes.
        sampler: a name in SAMPLERS.
        pruner: a name in PRUNERS; with several objectives nothing is pruned.
        storage_url: Optuna's storage; a SQLite file in the folder if None.
        preflight: is given the base before anything is written, and raises what a person can mend.
        lost: makes the outcomes of runs that raised or whose worker died too often; without it the search
            stops.
        origins: the driver's data and code; records of others are refused.

    Raises:
        MoevaeError: another driver owns the study, the folder or the storage holds another study, the data
            are missing, or many consecutive trials failed in the same way. Records written so far remain.
    """
    url = storage_url or storage.default_url(folder)
    storage.check(url)
    with lock.hold(folder):
        searches.check_same(search, folder)
        preflight([search.base])
        listed, recorded = searches.plan_of_search(search, folder)
        origins = origins or Origins()
        origins.begin(folder, (record for found in recorded.values() for record in found.values()))
        with (
            storage.opened(url) as opened,
            tempfile.TemporaryDirectory() as flags,
            ownership.described(folder),
        ):
            storage.with_retries(lambda: ownership.check(opened, search.name, folder))
            write_tree(search.to_dict(list(listed.values())), folder, shared=storage_url is not None)
            attempts = SearchTrials(opened, search, folder, sampler=sampler, pruner=pruner)
            attempts.reconcile(
                list(listed.values()), {key: list(found.values()) for key, found in recorded.items()}
            )
            driver = _Driver(
                search, folder, run, lost, workforce, watch, attempts, Path(flags), origins, recorded, listed
            )
            watch.begin(search, len(attempts.finished()), budget.trials)
            driver.work(budget)
            return Found(tuple(attempts.finished()), tuple(attempts.best()), driver.trained)


def _past(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
