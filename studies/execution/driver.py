"""The driver: it owns a study, has the runs without a record done, and publishes what comes back."""

from __future__ import annotations

import functools
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moevae.config.schema import RunConfig
from moevae.errors import MoevaeError
from studies.design.design import Cell, Design
from studies.execution.executors.base import OnEpoch, WorkerPool, WorkersError
from studies.execution.failures import Guarded, Raised, Streak
from studies.execution.plan import Ledger, Task, make_plan, split_tasks, write_study
from studies.records import lock, schema, store
from studies.records.origins import Origins
from studies.records.schema import Method, Outcome, Record
from studies.storage import open as storage
from studies.storage import ownership
from studies.storage.open import StorageError
from studies.storage.study_sync import Trials
from studies.utils import signals
from studies.utils.silence import Silence

if TYPE_CHECKING:
    from studies.execution.events import EpochReport

_MOMENT = 0.1
"""Seconds between looks for progress."""

_log = logging.getLogger(__name__)


class RunFunction(Protocol):
    """Trains runs of one cell together; gives one outcome each, in order. It must travel by pickle."""

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None, method: Method | None = None
    ) -> list[Outcome]:
        """Train, telling of each epoch; or fit a baseline."""


class Lost(Protocol):
    """Makes the outcomes of runs that raised, or whose workers died."""

    def __call__(
        self, configs: Sequence[RunConfig], reason: str, /, *, method: Method | None = None
    ) -> list[Outcome]:
        """Return one outcome a run, in order."""


class Callbacks(Protocol):
    """Is told how the study goes."""

    def begin(self, ledger: Ledger) -> None:
        """The study is owned and surveyed; work starts."""

    def epoch(self, task: Task, report: EpochReport) -> None:
        """A task ended an epoch."""

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """The records of a task are published."""


@dataclass(frozen=True)
class StudySummary:
    """What a driver found and did."""

    before: Ledger
    """Found."""
    trained: tuple[Record, ...]
    """Done now."""

    @property
    def failures(self) -> list[Record]:
        """Runs of the seeds asked for that failed, now or before."""
        again = {record.fingerprint for record in self.trained}
        earlier = [record for record in self.before.failures() if record.fingerprint not in again]
        return earlier + [record for record in self.trained if record.status == "failed"]


def run_study(
    design: Design,
    folder: Path,
    run: RunFunction,
    *,
    workforce: WorkerPool,
    watch: Callbacks,
    storage_url: str | None = None,
    retry_failed: bool = False,
    preflight: Callable[[Sequence[RunConfig]], None] = lambda configs: None,
    lost: Lost | None = None,
    origins: Origins | None = None,
) -> StudySummary:
    """Do every run of the design that has no record, each exactly once.

    Args:
        design: what to run.
        folder: the study's own, made if need be.
        run: trains the missing runs of one cell.
        workforce: where tasks run.
        watch: is told how it goes.
        storage_url: Optuna's storage; a SQLite file in the folder if None.
        retry_failed: also do again the runs whose record says that they failed.
        preflight: is given all runs to do, before anything is written, and raises what a person can mend.
        lost: makes the outcomes of runs that raised or whose worker died too often; without it the study
            stops.
        origins: the driver's data and code; records of others are refused.

    Raises:
        MoevaeError: the study is owned by another driver, the folder or the storage holds another
            study, the data is not there, the disk is full, or many runs in a row failed in the same way.
            What was published stays.
    """
    url = storage_url or storage.default_url(folder)
    storage.check(url)
    with lock.hold(folder):
        origins = origins or Origins()
        ledger = make_plan(design, folder, retry_failed=retry_failed)
        origins.begin(folder, ledger.records)
        if ledger.tasks:
            preflight([config for task in ledger.tasks for config in task.configs])
        with storage.opened(url) as opened, ownership.described(folder):
            storage.with_retries(lambda: ownership.check(opened, design.name, folder))
            trials = Trials(opened, ledger.whole, folder)
            write_study(ledger, folder, shared=storage_url is not None)
            trials.reconcile(ledger.recorded, [task.cell.key for task in ledger.tasks])
            watch.begin(ledger)
            trained = _Work(ledger, folder, run, lost, trials, workforce, watch, origins).do()
    return StudySummary(ledger, tuple(trained))


@dataclass
class _Work:
    """One driver's work on a study: tasks wait, run, and are published."""

    ledger: Ledger
    folder: Path
    run: RunFunction
    lost: Lost | None
    trials: Trials
    workforce: WorkerPool
    watch: Callbacks
    origins: Origins

    def __post_init__(self) -> None:
        self._queue = deque(split_tasks(self.ledger.tasks, self.workforce.slots))
        self._tasks_left = Counter(task.cell.key for task in self._queue)
        self._recorded = {
            key: {one.fingerprint: one for one in group} for key, group in self.ledger.recorded.items()
        }
        self._running: dict[Future[list[Outcome] | Raised], Task] = {}
        self._streak, self._silence = Streak(), Silence()
        self._begun: Counter[tuple[str, tuple[RunConfig, ...]]] = Counter()
        self._started: dict[str, Cell] = {}
        self._trained: list[Record] = []

    @signals.defer_signals()
    def do(self) -> list[Record]:
        """Keep the workforce busy until every task is published and its cell's trial has ended."""
        try:
            while self._queue or self._running:
                self._submit()
                self._gather()
        except Exception:
            self._drain()
            raise
        finally:
            self._keep_finished()
            for cell in self._started.values():
                with suppress(StorageError):
                    self.trials.release(cell)
        return self._trained

    def _submit(self) -> None:
        while self._queue and len(self._running) < self.workforce.slots:
            task = self._queue.popleft()
            method = task.cell.method
            if method is None and task.cell.key not in self._started:
                self.trials.start(task.cell)
                self._started[task.cell.key] = task.cell
            self._begun[task.cell.key, task.configs] += 1
            listener = self.workforce.forward_events(functools.partial(self._epoch, task))
            guarded = Guarded(self.run, self.workforce.worker_errors) if self.lost else self.run
            run = guarded if method is None else functools.partial(guarded, method=method)
            future = self.workforce.executor.submit(run, task.configs, on_epoch=listener)
            self._running[future] = task

    def _epoch(self, task: Task, report: EpochReport) -> None:
        self._silence.end()
        self.watch.epoch(task, report)

    def _gather(self) -> None:
        """Publish what is finished, having waited for it for a moment."""
        with signals.deliver_signals():
            finished = wait(self._running, timeout=_MOMENT, return_when=FIRST_COMPLETED).done
        self.workforce.deliver()
        for future in finished:
            task = self._running.pop(future)
            self._silence.end()
            try:
                outcomes = future.result()
            except self.workforce.worker_errors as death:
                self._after_death(task, death)
                continue
            if isinstance(outcomes, Raised):
                self._after_raise(task, outcomes)
            else:
                self._publish(task, outcomes)
                self._streak.end()
        self._silence.tell(task.cell.label for task in self._running.values())

    def _drain(self) -> None:
        """Publish what is in flight: no run is lost to another's mistake. End once nothing comes back."""
        while before := len(self._running):
            try:
                self._gather()
            except Exception:
                if len(self._running) == before:
                    return

    def _keep_finished(self) -> None:
        """Publish what finished just before an interrupt."""
        for future, task in self._running.items():
            if future.done() and not future.cancelled() and not future.exception():
                outcomes = future.result()
                if not isinstance(outcomes, Raised):
                    with suppress(MoevaeError):
                        self._publish(task, outcomes)

    def _after_raise(self, task: Task, raised: Raised) -> None:
        """Record a run as failed; of several that trained together, each is first tried alone."""
        if len(task.configs) > 1:
            self._queue.extendleft(Task(task.cell, (config,)) for config in reversed(task.configs))
            self._tasks_left[task.cell.key] += len(task.configs) - 1
            return
        self._lose(task, raised)

    def _lose(self, task: Task, raised: Raised) -> None:
        assert self.lost is not None
        self._publish(task, self.lost(task.configs, raised.reason, method=task.cell.method))
        self._streak.note(raised.kind, raised.reason)

    def _after_death(self, task: Task, death: Exception) -> None:
        """Put the task back to the front of the queue; give up on it after too many attempts."""
        begun = self._begun[task.cell.key, task.configs]
        if begun < self.workforce.attempts:
            _log.warning(
                "a worker died (%s); its cell is restarted: %s", type(death).__name__, task.cell.label
            )
            self._queue.appendleft(task)
            return
        reason = f"its worker died {begun} times; a possible cause is a lack of memory"
        if self.lost is None:
            raise WorkersError(f"{task.cell.label}: {reason}") from death
        self._lose(task, Raised(type(death).__name__, reason))

    def _publish(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        made = _published(task, outcomes, self.folder, self.origins)
        key = task.cell.key
        self._trained += made
        self._recorded[key].update((one.fingerprint, one) for one in made)
        self._tasks_left[key] -= 1
        if not self._tasks_left[key] and task.cell.method is None:
            self.trials.finish(task.cell, list(self._recorded[key].values()))
            del self._started[key]
        self.watch.done(task, made)


def _published(task: Task, outcomes: Sequence[Outcome], folder: Path, origins: Origins) -> list[Record]:
    """Write the records of a task, having looked that they are the ones it was to make."""
    asked = [schema.name_of(config, task.cell.method) for config in task.configs]
    if [outcome.record.fingerprint for outcome in outcomes] != asked:
        raise RuntimeError(f"{task.cell.label}: the run function did not return the runs it was given")
    for outcome in outcomes:
        origins.admit(outcome.record)
        store.write_record(folder, outcome)
    return [outcome.record for outcome in outcomes]
