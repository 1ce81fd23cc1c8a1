"""The driver of a study: it owns the study, submits the missing runs, and writes their records.

An `Experiment` provides the tasks and updates the trials: an ablation from a plan, a search from a sampler.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from moevae.config.schema import RunConfig
from moevae.errors import MoevaeError
from studies.execution.events import EpochReport, Event
from studies.execution.executors.base import WorkerPool, WorkersError
from studies.execution.experiment import Experiment, RunFunction, WorkerLost
from studies.execution.failures import FailureStreak, GuardedRun, RaisedException
from studies.execution.plan import Task
from studies.execution.pruning import Stopped
from studies.records import lock, schema, store, weights
from studies.records.origins import Origins
from studies.records.schema import Outcome, Record
from studies.storage import connection as storage
from studies.storage import ownership
from studies.utils import signals
from studies.utils.silence import Silence

_POLL_SECONDS = 0.1
"""Seconds between checks for progress."""

_log = logging.getLogger(__name__)

Preflight = Callable[[Sequence[RunConfig]], None]
"""Function that checks configurations before anything is written."""


def drive(
    load: Callable[[], Experiment],
    folder: Path,
    run: RunFunction,
    *,
    worker_pool: WorkerPool,
    storage_url: str | None = None,
    preflight: Preflight = lambda configs: None,
    on_worker_lost: WorkerLost | None = None,
    origins: Origins | None = None,
    keep: weights.Keep | None = None,
) -> list[Record]:
    """Run each task of an experiment, and return the records that were added.

    Args:
        load: reads the experiment from the folder, without writing anything.
        folder: the folder of the study, created if needed.
        run: trains the runs of one task.
        worker_pool: the executor of the tasks.
        storage_url: URL of Optuna's storage; None uses a SQLite file in the folder.
        preflight: called with configurations before anything is written; raises errors that the user can
            correct.
        on_worker_lost: creates the outcomes of runs that raised an exception or whose worker died too often.
            Without it, such a run stops the study.
        origins: identities of the driver's data and code; records with other identities are rejected.
        keep: the runs whose weights are kept, if `run` returns weights; None keeps none.

    Raises:
        MoevaeError: another driver owns the study, the folder or the storage holds another study, the data
            are missing, the disk is full, or many consecutive runs failed in the same way. Records written
            so far remain.
    """
    url = storage_url or storage.default_url(folder)
    storage.check(url)
    with lock.hold(folder):
        experiment = load()
        origins = origins or Origins()
        origins.begin(folder, list(experiment.records))
        if unchecked := experiment.unchecked:
            preflight(unchecked)
        slots = worker_pool.slots  # a pool that allows no worker raises an error before anything is written
        with storage.opened(url) as opened, ownership.described(folder):
            storage.with_retries(lambda: ownership.check(opened, experiment.name, folder))
            experiment.describe(shared=storage_url is not None)
            experiment.begin(opened, slots)
            return _Work(experiment, folder, run, on_worker_lost, worker_pool, origins, keep).do()


@dataclass
class _Work:
    """The work of one driver on a study: it submits tasks and publishes their records."""

    experiment: Experiment
    folder: Path
    run: RunFunction
    on_worker_lost: WorkerLost | None
    worker_pool: WorkerPool
    origins: Origins
    keep: weights.Keep | None

    def __post_init__(self) -> None:
        self._repeated: deque[Task] = deque()
        self._running: dict[Future[Any], Task] = {}
        self._streak, self._silence = FailureStreak(), Silence()
        self._attempts: Counter[tuple[str, tuple[RunConfig, ...]]] = Counter()
        self._trained: list[Record] = []

    @signals.defer_signals()
    def do(self) -> list[Record]:
        """Submit tasks until there are no more, and return the new records, which are all published."""
        try:
            while self._submit():
                self._collect()
        except Exception:
            self._drain()
            raise
        finally:
            self._keep_finished()
            self.experiment.release()
        return self._trained

    def _submit(self) -> bool:
        """Fill the free slots; return whether tasks are in flight."""
        while len(self._running) < self.worker_pool.slots:
            task = self._repeated.popleft() if self._repeated else self.experiment.next()
            if task is None:
                break
            self._attempts[task.cell.key, task.configs] += 1
            listener = self.worker_pool.forward_events(partial(self._note, task))
            run = self.experiment.function(self.run, task)
            guarded = GuardedRun(run, self.worker_pool.worker_errors) if self.on_worker_lost else run
            future = self.worker_pool.executor.submit(guarded, task.configs, on_event=listener)
            self._running[future] = task
        return bool(self._running)

    @signals.defer_signals()
    def _note(self, task: Task, event: Event) -> None:
        self._silence.end()
        if isinstance(event, EpochReport):
            self.experiment.epoch(task, event)
        else:
            self.experiment.evaluation(task, event)

    def _collect(self) -> None:
        """Wait briefly for tasks to finish, and publish the finished ones."""
        with signals.deliver_signals():
            finished = wait(self._running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done
        self.worker_pool.deliver()
        for future in finished:
            task = self._running.pop(future)
            self._silence.end()
            try:
                outcomes = future.result()
            except self.worker_pool.worker_errors as death:
                self._after_death(task, death)
                continue
            if isinstance(outcomes, RaisedException):
                self._after_raise(task, outcomes)
                continue
            if isinstance(outcomes, Stopped):
                self.experiment.stopped(task)
            else:
                self._publish(task, outcomes)
            self._streak.end()
        self._silence.log(task.cell.label for task in self._running.values())

    def _drain(self) -> None:
        """Publish the tasks in flight after an error. Stop when no further result arrives."""
        while before := len(self._running):
            try:
                self._collect()
            except Exception:
                if len(self._running) == before:
                    return

    def _keep_finished(self) -> None:
        """Publish the tasks that finished just before an interrupt."""
        for future, task in self._running.items():
            if future.done() and not future.cancelled() and not future.exception():
                outcomes = future.result()
                if not isinstance(outcomes, RaisedException | Stopped):
                    with suppress(MoevaeError):
                        self._publish(task, outcomes)

    def _after_raise(self, task: Task, raised: RaisedException) -> None:
        """Record runs as failed; those that trained together may first be repeated one by one."""
        if self.experiment.divides and len(task.configs) > 1:
            self._repeated.extendleft(Task(task.cell, (config,)) for config in reversed(task.configs))
        else:
            self._record_failure(task, raised)

    def _record_failure(self, task: Task, raised: RaisedException) -> None:
        assert self.on_worker_lost is not None
        self._publish(task, self.on_worker_lost(task.configs, raised.reason, method=task.cell.method))
        self._streak.note(raised.kind, raised.reason)

    def _after_death(self, task: Task, death: Exception) -> None:
        """Return the task to the front of the queue, or record it as failed after too many attempts."""
        attempts = self._attempts[task.cell.key, task.configs]
        if attempts < self.worker_pool.attempts:
            _log.warning(
                "a worker died (%s); its cell is restarted: %s", type(death).__name__, task.cell.label
            )
            self._repeated.appendleft(task)
            return
        reason = f"its worker died {attempts} times; a possible cause is a lack of memory"
        if self.on_worker_lost is None:
            raise WorkersError(f"{task.cell.label}: {reason}") from death
        self._record_failure(task, RaisedException(type(death).__name__, reason))

    def _publish(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        """Check that the outcomes belong to the task, write weights and records, and end its trial."""
        asked = [schema.name_of(config, task.cell.method) for config in task.configs]
        if [outcome.record.fingerprint for outcome in outcomes] != asked:
            raise RuntimeError(f"{task.cell.label}: the run function did not return the runs it was given")
        for outcome in outcomes:
            self.origins.check_record(outcome.record)
            if self.keep:  # before the record: a run that has one is not trained again
                weights.keep(self.folder, task.cell.key, [outcome], self.keep)
            store.write_record(self.folder, outcome)
        made = [outcome.record for outcome in outcomes]
        self._trained += made
        self.experiment.done(task, made)
