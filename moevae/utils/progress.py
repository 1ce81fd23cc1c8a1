"""Progress of training: a live bar on a terminal, plain lines elsewhere."""

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
    """Show progress on a console.

    Args:
        console: the console; a bar is shown on a terminal, lines elsewhere.

    Yields:
        A function that takes the epoch, the number of epochs, and metrics by name.
    """
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (BarColumn(), TextColumn("{task.fields[epochs]}"), TextColumn("left:"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, epochs="starting")

        def note(epoch: int, epochs: int, numbers: Mapping[str, float]) -> None:
            bar.below = metrics_in_words(numbers)
            bar.update(task, total=epochs, completed=epoch, epochs=f"epoch {epoch}/{epochs}")

        yield note


def metrics_in_words(numbers: Mapping[str, float]) -> str:
    """Return metrics as text, such as `loss 27.66, NMI 0.7123`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def seconds_in_words(seconds: float) -> str:
    """Return a time as text, such as `45 s` or `12 min`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _lines(console: Console) -> Note:
    """Return a function that prints its first epoch, the last one, and one every few seconds."""
    start = last = time.monotonic()
    before: int | None = None  # epochs of an earlier start, whose time is not known

    def note(epoch: int, epochs: int, numbers: Mapping[str, float]) -> None:
        nonlocal last, before
        now, before = time.monotonic(), epoch - 1 if before is None else before
        done = epoch - before
        if epoch != epochs and done > 1 and now - last < _EVERY:
            return
        last = now
        # No estimate after the first epoch, which is slower than the others.
        left = f", {seconds_in_words((now - start) * (epochs - epoch) / done)} left" if done > 1 else ""
        line = f"[epoch {epoch}/{epochs}{left}] {metrics_in_words(numbers)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return note
