"""Progress of training and evaluation: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

Note = Callable[[int, int, Mapping[str, float]], None]
"""A function that is called after each epoch, with its number from 1, the number of epochs, and metrics."""

_EVERY = 10.0
"""Seconds between plain lines."""


class Bar(Progress):
    """A progress bar with text below it, which is wrapped, so that a narrow terminal hides none of it."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bar and the text."""
        yield from super().get_renderables()
        yield Text(self.below, style="dim")


@contextmanager
def show_progress(console: Console) -> Iterator[Note]:
    """Show the progress of training on a console.

    Args:
        console: the console; a bar is shown on a terminal, lines elsewhere.

    Yields:
        A function that takes the epoch, the number of epochs, and metrics by name.
    """
    with _steps(console, "epoch", "starting", resumes=True) as note:
        yield note


@contextmanager
def show_evaluation(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of an evaluation on a console.

    Args:
        console: the console; a bar is shown on a terminal, lines elsewhere.

    Yields:
        A function that takes the number of evaluated images, and the number of images.
    """
    with _steps(console, "image", "evaluating") as note:
        yield lambda done, total: note(done, total, {})


@contextmanager
def _steps(console: Console, unit: str, waiting: str, resumes: bool = False) -> Iterator[Note]:
    """Show steps on a console, and `waiting` on a bar until the first one."""
    if not console.is_terminal:
        yield _lines(console, unit, resumes)
        return
    columns = (BarColumn(), TextColumn("{task.fields[steps]}"), TextColumn("left:"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, steps=waiting)

        def note(step: int, steps: int, numbers: Mapping[str, float]) -> None:
            bar.below = metrics_in_words(numbers)
            bar.update(task, total=steps, completed=step, steps=f"{unit} {step:,}/{steps:,}")

        yield note


def metrics_in_words(numbers: Mapping[str, float]) -> str:
    """Return metrics as text, such as `loss 27.66, NMI 0.7123`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def seconds_in_words(seconds: float) -> str:
    """Return a time as text, such as `45 s` or `12 min`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _lines(console: Console, unit: str, resumes: bool) -> Note:
    """Return a function that prints its first step, the last one, and one every few seconds."""
    start = last = time.monotonic()
    before: int | None = None  # steps of an earlier start, whose time is not known

    def note(step: int, steps: int, numbers: Mapping[str, float]) -> None:
        nonlocal last, before
        now, first = time.monotonic(), before is None
        if before is None:
            before = step - 1 if resumes else 0
        if step != steps and not first and now - last < _EVERY:
            return
        last = now
        # No estimate after the first step, which is slower than the others.
        left = "" if first else f", {seconds_in_words((now - start) * (steps - step) / (step - before))} left"
        line = f"[{unit} {step:,}/{steps:,}{left}] {metrics_in_words(numbers)}"
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)

    return note
