"""The driver: it owns a study, has the runs without a record done, and publishes what comes back."""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moevae.config import RunConfig, fingerprint
from studies import locks, records, storage
from studies.designs import Design
from studies.executors import OnEpoch, Workforce
from studies.ledger import Ledger, Task, survey, write_study
from studies.records import Outcome, Record
from studies.trials import Trials

if TYPE_CHECKING:
    from studies.runs import EpochReport


class Run(Protocol):
    """Trains runs of one cell together; gives one outcome each, in order. It must travel by pickle."""

    def __call__(self, configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None) -> list[Outcome]:
        """Train, telling of each epoch."""


class Watch(Protocol):
    """Is told how the study goes."""

    def begin(self, ledger: Ledger) -> None:
        """The study is owned and surveyed; work starts."""

    def epoch(self, task: Task, report: EpochReport) -> None:
        """A task ended an epoch."""

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """The records of a task are published."""


@dataclass(frozen=True)
class Summary:
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
    run: Run,
    *,
    workforce: Workforce,
    watch: Watch,
    storage_url: str | None = None,
    retry_failed: bool = False,
    preflight: Callable[[Sequence[RunConfig]], None] = lambda configs: None,
) -> Summary:
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

    Raises:
        MoevaeError: the study is owned by another driver, the folder or the storage holds another
            study, or the data is not there. What was published stays.
    """
    with locks.hold(folder):
        ledger = survey(design, folder, retry_failed=retry_failed)
        if ledger.tasks:
            preflight([config for task in ledger.tasks for config in task.configs])
        with storage.opened(storage_url or storage.default_url(folder)) as opened:
            trials = Trials(opened, design.with_seeds(ledger.planned), folder, private=storage_url is None)
            write_study(ledger, folder)
            trials.reconcile(ledger.recorded, [task.cell.key for task in ledger.tasks])
            watch.begin(ledger)
            trained = _work(ledger, folder, run, trials, workforce, watch)
    return Summary(ledger, tuple(trained))


def _work(
    ledger: Ledger, folder: Path, run: Run, trials: Trials, workforce: Workforce, watch: Watch
) -> list[Record]:
    """Keep the workforce busy until every task is published and its cell's trial has ended."""
    queue = deque(ledger.tasks)
    tasks_left = Counter(task.cell.key for task in queue)
    recorded = {key: {one.fingerprint: one for one in group} for key, group in ledger.recorded.items()}
    running: dict[Future[list[Outcome]], Task] = {}
    started: dict[str, Task] = {}
    trained: list[Record] = []
    try:
        while queue or running:
            while queue and len(running) < workforce.slots:
                task = queue.popleft()
                if task.cell.key not in started:
                    trials.start(task.cell)
                    started[task.cell.key] = task
                listener = workforce.relay(functools.partial(watch.epoch, task))
                running[workforce.executor.submit(run, task.configs, on_epoch=listener)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                made = _published(task, future.result(), folder)
                trained += made
                recorded[task.cell.key].update((one.fingerprint, one) for one in made)
                tasks_left[task.cell.key] -= 1
                if not tasks_left[task.cell.key]:
                    trials.finish(task.cell, list(recorded[task.cell.key].values()))
                    del started[task.cell.key]
                watch.done(task, made)
    finally:
        for task in started.values():
            trials.release(task.cell)
    return trained


def _published(task: Task, outcomes: Sequence[Outcome], folder: Path) -> list[Record]:
    """Write the records of a task, having looked that they are the ones it was to make."""
    asked = [fingerprint(config) for config in task.configs]
    if [outcome.record.fingerprint for outcome in outcomes] != asked:
        raise RuntimeError(f"{task.cell.label}: the run function did not return the runs it was given")
    for outcome in outcomes:
        records.publish(folder, outcome)
    return [outcome.record for outcome in outcomes]
