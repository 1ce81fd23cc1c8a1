"""How a study tells a person that it goes on: a live bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from moevae.utils.progress import Bar, metrics_in_words, seconds_in_words
from studies.execution.driver import Callbacks
from studies.execution.plan import Ledger, Task
from studies.records.schema import Record
from studies.utils.formatting import count

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig
    from studies.execution.events import EpochReport

SHOWN_METRICS = {"mixture_elbo": "ELBO", "nmi": "NMI"}
"""Metrics that a line of progress has room for."""

_EVERY = 30.0
"""Seconds between plain lines within one task."""


class Lines:
    """Plain lines: one when a task ends, and one now and then within a long task."""

    def __init__(self, console: Console) -> None:
        """Write to that console."""
        self._console = console
        self._clock = Clock()
        self._last = time.monotonic()

    def begin(self, ledger: Ledger) -> None:
        """Start the clock."""
        self._clock = Clock(ledger.tasks)

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Write a line if none was written for a while."""
        self._clock.note(task, report.epoch)
        if time.monotonic() - self._last >= _EVERY:
            self._say(f"{task.cell.label}: {_epoch_in_words(report)}")

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Write what the task's runs gave."""
        self._clock.end(task)
        self._say(f"{task.cell.label}: {_records_in_words(made)}")

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        left = self._clock.left()
        time_left = "time left unknown" if left is None else f"{seconds_in_words(left)} left"
        head = f"[{self._clock.runs}/{self._clock.total_runs} runs, {time_left}]"
        self._console.print(f"{head} {text}", markup=False, highlight=False, soft_wrap=True)


class LiveBar:
    """A live bar, with the cell in training and its metrics below, and a line for each task that ended."""

    def __init__(self, bar: Bar) -> None:
        """Draw on that display."""
        self._bar = bar
        self._task = bar.add_task("", total=None, left="starting")
        self._clock = Clock()

    def begin(self, ledger: Ledger) -> None:
        """Show how much there is to do."""
        self._clock = Clock(ledger.tasks)
        self._bar.update(self._task, total=self._clock.total, left=f"0/{self._clock.total_runs} runs")

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Move the bar."""
        self._clock.note(task, report.epoch)
        self._bar.below = f"{_epoch_in_words(report)} ({task.cell.label})"
        self._bar.update(self._task, completed=self._clock.epochs)

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Write a line above the bar."""
        self._clock.end(task)
        runs = f"{self._clock.runs}/{self._clock.total_runs} runs"
        self._bar.update(self._task, completed=self._clock.epochs, left=runs)
        self._bar.console.print(
            f"{task.cell.label}: {_records_in_words(made)}", markup=False, highlight=False
        )


@contextmanager
def watching(console: Console) -> Iterator[Callbacks]:
    """Show progress on a console: the bar if it is a terminal, lines if it is not."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (BarColumn(), TextColumn("{task.fields[left]}"), TextColumn("left:"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        yield LiveBar(bar)


class Clock:
    """Counts epochs of runs, and guesses from them how much time is left."""

    def __init__(self, tasks: Sequence[Task] = ()) -> None:
        """Expect these tasks."""
        self.total = sum(map(_epochs, tasks))
        self.total_runs = sum(len(task.configs) for task in tasks)
        self.runs = 0
        self._told: dict[str, dict[tuple[RunConfig, ...], int]] = {}
        """By the key of the cell, then by the runs of the task."""
        self._earlier = 0
        self._start: float | None = None

    @property
    def epochs(self) -> int:
        """Those that have ended, of all runs together."""
        return sum(epochs for told in self._told.values() for epochs in told.values())

    def note(self, task: Task, epoch: int) -> None:
        """The task has ended so many epochs; one that goes on from a snapshot begins with many."""
        if task.configs not in self._told.get(task.cell.key, {}):
            self._earlier += (epoch - 1) * len(task.configs)
        self._tell(task, epoch * len(task.configs))

    def end(self, task: Task) -> None:
        """The task's runs are published, however many epochs it told of."""
        self.runs += len(task.configs)
        self._tell(task, _epochs(task))

    def left(self) -> float | None:
        """Return the seconds left. The first report of all does not count, since it tells of the start, too.

        None before there is another, and after the last epoch: how long runs are measured is not known.
        """
        if self._start is None or (self.epochs == self.total and self.runs < self.total_runs):
            return None
        done = self.epochs - self._earlier
        return (time.monotonic() - self._start) / done * (self.total - self.epochs) if done > 0 else None

    def _tell(self, task: Task, epochs: int) -> None:
        told = self._told.setdefault(task.cell.key, {})
        for larger in [runs for runs in told if set(runs) > set(task.configs)]:
            del told[larger]  # it was divided
        told[task.configs] = epochs
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
