"""Progress of an ablation: its runs, and the metrics of the cell in training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console

from moevae.utils.progress import metrics_in_words
from studies.cli.display import Display, display, evaluation_in_words
from studies.design.cells import Cell, describe_settings
from studies.design.design import Design
from studies.execution.ablation import Callbacks
from studies.execution.plan import Plan, Task
from studies.records.schema import Record
from studies.utils.formatting import count

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig
    from studies.execution.events import EpochReport, EvaluationReport

SHOWN_METRICS = {"mixture_elbo": "ELBO", "nmi": "NMI"}
"""Metrics shown in a line of progress, with their labels."""


@contextmanager
def show_progress(console: Console) -> Iterator[Callbacks]:
    """Show the progress of an ablation on a console."""
    with display(console) as shown:
        yield StudyProgress(shown)


class StudyProgress:
    """Shows the progress of an ablation."""

    def __init__(self, shown: Display) -> None:
        """Show the progress on a display."""
        self._shown = shown
        self._clock = Clock()
        self._labels: dict[str, str] = {}

    def begin(self, plan: Plan) -> None:
        """Show the number of planned runs."""
        self._clock = Clock(plan.tasks)
        self._labels = {cell.key: changes(plan.design, cell) for cell in plan.design.cells}
        self._move()

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Show the cell in training, and its metrics."""
        self._clock.note(task, report.epoch)
        self._move()
        self._shown.current(f"{self._label(task)}: {_epoch_in_words(report)}")

    def evaluation(self, task: Task, report: EvaluationReport) -> None:
        """Show the cell in evaluation, and its images."""
        self._shown.current(f"{self._label(task)}: {evaluation_in_words(report)}")

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Write the results of a task."""
        self._clock.end(task)
        self._move()
        self._shown.line(f"{self._label(task)}: {_records_in_words(made)}")

    def _label(self, task: Task) -> str:
        return self._labels.get(task.cell.key, task.cell.label)

    def _move(self) -> None:
        clock = self._clock
        self._shown.move(clock.epochs, clock.total, f"{clock.runs}/{clock.total_runs} runs", clock.left())


def changes(design: Design, cell: Cell) -> str:
    """Return the values in which a cell differs from other cells, as text.

    Args:
        design: the design. If it varies one axis at a time, values of the reference cell are left out.
        cell: the cell.
    """
    varied = {key: value for key, value in cell.values.items() if len(design.axes.get(key, ())) > 1}
    if math.prod(map(len, design.axes.values())) > len(design.cells):
        own = {key: value for key, value in varied.items() if value != design.reference.get(key)}
        return describe_settings(own) if own else "reference cell"
    return describe_settings(varied) if varied else cell.label


class Clock:
    """Counts the epochs of runs, and estimates the time left from them."""

    def __init__(self, tasks: Sequence[Task] = ()) -> None:
        """Start the clock of a plan with the given tasks."""
        self.total = sum(map(_epochs, tasks))
        self.total_runs = sum(len(task.configs) for task in tasks)
        self.runs = 0
        self._counts: dict[str, dict[tuple[RunConfig, ...], int]] = {}
        """By the key of the cell, then by the runs of the task."""
        self._earlier = 0
        self._start: float | None = None

    @property
    def epochs(self) -> int:
        """Number of ended epochs, of all runs together."""
        return sum(epochs for counts in self._counts.values() for epochs in counts.values())

    def note(self, task: Task, epoch: int) -> None:
        """Record the end of an epoch of a task.

        Args:
            task: the task.
            epoch: number of the epoch; the first one noted is above 1 if the task continues from a snapshot.
        """
        if task.configs not in self._counts.get(task.cell.key, {}):
            self._earlier += (epoch - 1) * len(task.configs)
        self._tell(task, epoch * len(task.configs))

    def end(self, task: Task) -> None:
        """Record the end of a task."""
        self.runs += len(task.configs)
        self._tell(task, _epochs(task))

    def left(self) -> float | None:
        """Return the estimated seconds left.

        The first epoch is not counted, because its time includes the startup.

        Returns:
            The time; None before the second epoch, and after the last one, when the time of evaluation is
            not known.
        """
        if self._start is None or (self.epochs == self.total and self.runs < self.total_runs):
            return None
        done = self.epochs - self._earlier
        return (time.monotonic() - self._start) / done * (self.total - self.epochs) if done > 0 else None

    def _tell(self, task: Task, epochs: int) -> None:
        counts = self._counts.setdefault(task.cell.key, {})
        for larger in [runs for runs in counts if set(runs) > set(task.configs)]:
            del counts[larger]  # this task was divided
        counts[task.configs] = epochs
        if self._start is None:
            self._start, self._earlier = time.monotonic(), self.epochs


def _epochs(task: Task) -> int:
    return sum(config.train.epochs for config in task.configs)


def _epoch_in_words(report: EpochReport) -> str:
    finite = [loss for loss in report.losses if loss == loss]
    numbers = {"loss": fmean(finite)} if finite else {}
    numbers |= {word: report.metrics[name] for name, word in SHOWN_METRICS.items() if name in report.metrics}
    return f"epoch {report.epoch}/{report.epochs}, {metrics_in_words(numbers)}"


def _records_in_words(made: Sequence[Record]) -> str:
    complete = [record for record in made if record.status == "complete"]
    numbers = {}
    for name, word in SHOWN_METRICS.items():
        values = [
            record.metrics["test"][name] for record in complete if name in record.metrics.get("test", {})
        ]
        if values:
            numbers[word] = fmean(values)
    failed = len(made) - len(complete)
    parts = (metrics_in_words(numbers), count(len(complete), "run"), f"{failed} failed" if failed else "")
    return ", ".join(part for part in parts if part)
