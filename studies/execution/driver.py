"""The driver of a study: it owns the study, submits the missing runs, and writes their records."""

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
"""Seconds between checks for progress."""

_log = logging.getLogger(__name__)


class RunFunction(Protocol):
    """Trains the runs of one cell together. An implementation must be picklable."""

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None, method: Method | None = None
    ) -> list[Outcome]:
        """Train the runs, or fit a baseline, and return one outcome per run, in order."""


class Lost(Protocol):
    """Creates the outcomes of runs that raised an exception or whose worker died."""

    def __call__(
        self, configs: Sequence[RunConfig], reason: str, /, *, method: Method | None = None
    ) -> list[Outcome]:
        """Return one outcome per run, in order."""


class Callbacks(Protocol):
    """Receives the progress of a study."""

    def begin(self, ledger: Ledger) -> None:
        """Called when the driver owns the study and its plan is made, before the first task."""

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Called when a task has finished an epoch."""

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Called when the records of a task are written."""


@dataclass(frozen=True)
class StudySummary:
    """The state of a study before a driver ran, and the records it added."""

    before: Ledger
    """The plan at the start."""
    trained: tuple[Record, ...]
    """The records of the runs trained by this driver."""

    @property
    def failures(self) -> list[Record]:
        """The records of the requested seeds that failed, now or earlier."""
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
    """Run each missing run of a design exactly once.

    Args:
        design: the cells, seeds and baselines of the study.
        folder: the folder of the study, created if needed.
        run: trains the missing runs of one cell.
        workforce: the executor of the tasks.
        watch: receives the progress.
        storage_url: URL of Optuna's storage; None uses a SQLite file in the folder.
        retry_failed: whether to repeat the runs whose record has the status "failed".
        preflight: called with all missing runs before anything is written; raises errors that the user can
            correct.
        lost: creates the outcomes of runs that raised an exception or whose worker died too often. Without
            it, such a run stops the study.
        origins: identities of the driver's data and code; records with other identities are rejected.

    Raises:
        MoevaeError: another driver owns the study, the folder or the storage holds another study, the data
            are missing, the disk is full, or many consecutive runs failed in the same way. Records written
            so far remain.
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
    """The work of one driver on a study: it submits tasks and publishes their records."""

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
        """Submit tasks until all records are published and all trials have ended."""
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
        """Wait briefly for tasks to finish, and publish the finished ones."""
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
        """Publish the tasks in flight after an error. Stop when no further result arrives."""
        while before := len(self._running):
            try:
                self._gather()
            except Exception:
                if len(self._running) == before:
                    return

    def _keep_finished(self) -> None:
        """Publish the tasks that finished just before an interrupt."""
        for future, task in self._running.items():
            if future.done() and not future.cancelled() and not future.exception():
                outcomes = future.result()
                if not isinstance(outcomes, Raised):
                    with suppress(MoevaeError):
                        self._publish(task, outcomes)

    def _after_raise(self, task: Task, raised: Raised) -> None:
        """Record a run as failed; runs that trained together are first retried one by one."""
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
        """Return the task to the front of the queue, or record it as failed after too many attempts."""
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
    """Check that the outcomes belong to the task, and write their records."""
    asked = [schema.name_of(config, task.cell.method) for config in task.configs]
    if [outcome.record.fingerprint for outcome in outcomes] != asked:
        raise RuntimeError(f"{task.cell.label}: the run function did not return the runs it was given")
    for outcome in outcomes:
        origins.admit(outcome.record)
        store.write_record(folder, outcome)
    return [outcome.record for outcome in outcomes]
