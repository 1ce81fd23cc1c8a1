"""Display of progress for ablations and searches alike: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from moevae.utils.progress import Bar, seconds_in_words

if TYPE_CHECKING:
    from studies.execution.events import EvaluationReport

_EVERY = 30.0
"""Seconds between plain lines while no task ends."""


class Display(Protocol):
    """Shows the progress of a driver."""

    def move(self, completed: float, total: float, head: str, left: float | None) -> None:
        """Show the progress.

        Args:
            completed: the completed part of `total`.
            total: the whole amount.
            head: a count as text.
            left: estimated time left in seconds; None if unknown.
        """

    def current(self, text: str) -> None:
        """Show the task in training.

        Args:
            text: description of the task.
        """

    def line(self, text: str) -> None:
        """Write a permanent line about a finished task.

        Args:
            text: the line.
        """


class Lines:
    """Plain lines: one for each finished task, and one every 30 seconds within a long task."""

    def __init__(self, console: Console) -> None:
        """Write to a console."""
        self._console = console
        self._head = ""
        self._last = time.monotonic()

    def move(self, completed: float, total: float, head: str, left: float | None) -> None:
        """Keep the progress for the next line."""
        self._head = f"{head}, {'time left unknown' if left is None else f'{seconds_in_words(left)} left'}"

    def current(self, text: str) -> None:
        """Write a line if the last one is old enough."""
        if time.monotonic() - self._last >= _EVERY:
            self.line(text)

    def line(self, text: str) -> None:
        """Write a line."""
        self._last = time.monotonic()
        self._console.print(f"[{self._head}] {text}", markup=False, highlight=False, soft_wrap=True)


class LiveBar:
    """A live bar, with the task in training below, and a line for each finished task."""

    def __init__(self, bar: Bar) -> None:
        """Draw on a progress display of rich."""
        self._bar = bar
        self._task = bar.add_task("", total=None, head="starting")

    def move(self, completed: float, total: float, head: str, left: float | None) -> None:
        """Move the bar, which estimates the time left itself."""
        self._bar.update(self._task, completed=completed, total=total, head=head)

    def current(self, text: str) -> None:
        """Write below the bar."""
        self._bar.below = text

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)


def evaluation_in_words(report: EvaluationReport) -> str:
    """Return the progress of an evaluation as text, such as `3,000 of 10,000 test images evaluated`."""
    return f"{report.images:,} of {report.total:,} {report.split} images evaluated"


@contextmanager
def display(console: Console) -> Iterator[Display]:
    """Provide the display for a console.

    Args:
        console: the console; a bar is shown on a terminal, lines elsewhere.
    """
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (BarColumn(), TextColumn("{task.fields[head]}"), TextColumn("left:"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        yield LiveBar(bar)
