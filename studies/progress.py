"""How a study tells a person that it goes on: a live bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from studies.engine import Watch
from studies.ledger import Ledger, Task
from studies.records import Record

if TYPE_CHECKING:
    from studies.runs import EpochReport

SHOWN = {"mixture_elbo": "ELBO", "nmi": "NMI"}
"""Metrics that a line of progress has room for."""

_EVERY = 30.0
"""Seconds between plain lines within one task."""


class Lines:
    """Plain lines: one when a task ends, and one now and then within a long task."""

    def __init__(self, console: Console) -> None:
        """Write to that console."""
        self._console = console
        self._clock = _Clock()
        self._last = time.monotonic()

    def begin(self, ledger: Ledger) -> None:
        """Start the clock."""
        self._clock = _Clock(ledger)

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Write a line if none was written for a while."""
        self._clock.advance(len(task.configs))
        if time.monotonic() - self._last >= _EVERY:
            self._say(f"{task.cell.label}: {_epoch_in_words(report)}")

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Write what the task's runs gave."""
        self._clock.runs += len(made)
        self._say(f"{task.cell.label}: {_records_in_words(made)}")

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        head = f"[{self._clock.runs}/{self._clock.total_runs} runs, {self._clock.left()}]"
        self._console.print(f"{head} {text}", markup=False, highlight=False, soft_wrap=True)


class Bar:
    """A live bar, with the cell in training and its metrics below, and a line for each task that ended."""

    def __init__(self, progress: _Progress) -> None:
        """Draw on that display."""
        self._progress = progress
        self._task = progress.add_task("", total=None, left="starting")
        self._clock = _Clock()

    def begin(self, ledger: Ledger) -> None:
        """Show how much there is to do."""
        self._clock = _Clock(ledger)
        self._progress.update(self._task, total=self._clock.total, left=f"0/{self._clock.total_runs} runs")

    def epoch(self, task: Task, report: EpochReport) -> None:
        """Move the bar."""
        self._clock.advance(len(task.configs))
        self._progress.below = f"{_epoch_in_words(report)} ({task.cell.label})"
        self._progress.update(self._task, completed=self._clock.epochs)

    def done(self, task: Task, made: Sequence[Record]) -> None:
        """Write a line above the bar."""
        self._clock.runs += len(made)
        self._progress.update(self._task, left=f"{self._clock.runs}/{self._clock.total_runs} runs")
        line = f"{task.cell.label}: {_records_in_words(made)}"
        self._progress.console.print(line, markup=False, highlight=False)


@contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Show progress on a console: the bar if it is a terminal, lines if it is not."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (BarColumn(), TextColumn("{task.fields[left]}"), TextColumn("left:"), TimeRemainingColumn())
    with _Progress(*columns, console=console, transient=True, speed_estimate_period=600) as progress:
        yield Bar(progress)


class _Progress(Progress):
    """A bar with a line of text below it."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.below, overflow="ellipsis", no_wrap=True, style="dim")


class _Clock:
    """Counts epochs of runs, and guesses from them how much time is left."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        tasks = ledger.tasks if ledger else ()
        self.total = sum(config.train.epochs for task in tasks for config in task.configs)
        self.total_runs = sum(len(task.configs) for task in tasks)
        self.epochs = 0
        self.runs = 0
        self._start = time.monotonic()

    def advance(self, epochs: int) -> None:
        self.epochs += epochs

    def left(self) -> str:
        done = max(self.epochs / self.total if self.total else 0.0, self.runs / max(self.total_runs, 1))
        if not done:
            return "time left unknown"
        seconds = (time.monotonic() - self._start) * (1 - done) / done
        return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


def _epoch_in_words(report: EpochReport) -> str:
    finite = [loss for loss in report.losses if loss == loss]
    numbers = {"loss": fmean(finite)} if finite else {}
    numbers |= {word: report.metrics[name] for name, word in SHOWN.items() if name in report.metrics}
    return f"epoch {report.epoch}/{report.epochs}, {_in_words(numbers)}"


def _records_in_words(made: Sequence[Record]) -> str:
    complete = [record for record in made if record.status == "complete"]
    numbers = {}
    for name, word in SHOWN.items():
        values = [
            record.metrics["test"][name] for record in complete if name in record.metrics.get("test", {})
        ]
        if values:
            numbers[word] = fmean(values)
    failed = len(made) - len(complete)
    return ", ".join(
        part
        for part in (_in_words(numbers), f"n = {len(complete)}", f"{failed} failed" if failed else "")
        if part
    )


def _in_words(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
