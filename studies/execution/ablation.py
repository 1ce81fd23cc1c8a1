"""Ablations: the driver works on the missing runs of a design."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from optuna.storages import BaseStorage

from moevae.config.schema import RunConfig
from studies.design.cells import Cell
from studies.design.design import Design
from studies.execution.driver import drive
from studies.execution.events import EpochReport, EvaluationReport
from studies.execution.executors.base import WorkerPool
from studies.execution.experiment import Experiment, RunFunction
from studies.execution.plan import Plan, Task, make_plan, split_tasks
from studies.records import study_file
from studies.records.schema import Record
from studies.storage.connection import StorageError
from studies.storage.study_sync import Trials


class Callbacks(Protocol):
    """Receives the progress of a study."""

    def begin(self, plan: Plan) -> None:
        """Called when the driver owns the study and its plan is made, before the first task."""

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Called when a task has finished an epoch.

        Args:
            task: the task.
            report: losses and metrics of the epoch.
        """

    def evaluation(self, task: Task, report: EvaluationReport) -> None:
        """Called when a task has evaluated a block of images.

        Args:
            task: the task.
            report: number of evaluated images.
        """

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Called when the records of a task are written.

        Args:
            task: the task.
            made: the records, one per run.
        """


@dataclass(frozen=True)
class StudySummary:
    """The state of a study before a driver ran, and the records it added."""

    before: Plan
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
    worker_pool: WorkerPool,
    callbacks: Callbacks,
    retry_failed: bool = False,
    **options: Any,
) -> StudySummary:
    """Run each missing run of a design exactly once.

    Args:
        design: the cells, seeds and baselines of the study.
        folder: the folder of the study, created if needed.
        run: trains the missing runs of one cell.
        worker_pool: the executor of the tasks.
        callbacks: receives the progress.
        retry_failed: whether to repeat the runs whose record has the status "failed".
        options: those of `studies.execution.driver.drive`. The preflight gets all missing runs.

    Raises:
        MoevaeError: see `studies.execution.driver.drive`.
    """
    ablations: list[_Ablation] = []

    def load() -> _Ablation:
        plan = make_plan(design, folder, retry_failed=retry_failed)
        ablations.append(_Ablation(plan, folder, callbacks))
        return ablations[0]

    trained = drive(load, folder, run, worker_pool=worker_pool, **options)
    return StudySummary(ablations[0].plan, tuple(trained))


class _Ablation(Experiment):
    """The missing runs of a design, and the trials of its cells."""

    divides = True

    def __init__(self, plan: Plan, folder: Path, callbacks: Callbacks) -> None:
        self.plan, self.name = plan, plan.design.name
        self._folder, self._callbacks = folder, callbacks
        self._recorded = {
            key: {one.fingerprint: one for one in group} for key, group in plan.recorded.items()
        }
        self._started: dict[str, Cell] = {}

    @property
    def records(self) -> list[Record]:
        return self.plan.records

    @property
    def unchecked(self) -> list[RunConfig]:
        return [config for task in self.plan.tasks for config in task.configs]

    def describe(self, *, shared: bool = False) -> None:
        study_file.write(self._folder, self.plan.full_design.to_dict(), shared=shared)

    def begin(self, opened: BaseStorage, slots: int) -> None:
        self._trials = Trials(opened, self.plan.full_design, self._folder)
        self._trials.reconcile(self.plan.recorded, [task.cell.key for task in self.plan.tasks])
        self._queue = deque(split_tasks(self.plan.tasks, slots))
        self._left = Counter(task.cell.key for task in self._queue for _ in task.configs)
        self._callbacks.begin(self.plan)

    def next(self) -> Task | None:
        if not self._queue:
            return None
        task = self._queue.popleft()
        if task.cell.method is None and task.cell.key not in self._started:
            self._trials.start(task.cell)
            self._started[task.cell.key] = task.cell
        return task

    def epoch(self, task: Task, report: EpochReport) -> None:
        self._callbacks.epoch(task, report)

    def evaluation(self, task: Task, report: EvaluationReport) -> None:
        self._callbacks.evaluation(task, report)

    def done(self, task: Task, made: Sequence[Record]) -> None:
        key = task.cell.key
        self._recorded[key].update((one.fingerprint, one) for one in made)
        self._left[key] -= len(made)
        if not self._left[key] and task.cell.method is None:
            self._trials.finish(task.cell, list(self._recorded[key].values()))
            del self._started[key]
        self._callbacks.done(task, made)

    def release(self) -> None:
        for cell in self._started.values():
            with suppress(StorageError):
                self._trials.release(cell)
