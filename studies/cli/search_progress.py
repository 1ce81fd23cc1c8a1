"""How a search tells a person that it goes on: a live bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from moevae.utils.progress import Bar, seconds_in_words
from studies.search.driver import SearchCallbacks
from studies.search.objectives import describe_objectives
from studies.search.search import Search
from studies.search.trials import Attempt

if TYPE_CHECKING:
    from studies.execution.events import EpochReport


class Lines:
    """One line when a trial ends."""

    def __init__(self, console: Console) -> None:
        """Write to that console."""
        self._console = console
        self._ended = self._budget = self._here = 0

    def begin(self, search: Search, ended: int, budget: int) -> None:
        """Start the clock."""
        self._search, self._ended, self._budget = search, ended, budget
        self._start = time.monotonic()

    def epoch(self, attempt: Attempt, report: EpochReport) -> None:
        """Say nothing: trials are short."""

    def ended(self, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> None:
        """Write what became of the trial."""
        self._ended += 1
        self._here += 1
        seconds = (time.monotonic() - self._start) / self._here * max(0, self._budget - self._ended)
        left = f"{seconds_in_words(seconds)} left"
        line = f"[{self._ended}/{self._budget} trials, {left}] {in_line(self._search, trial, best)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveBar:
    """A live bar, with the trial in training below, and a line for each trial that ended."""

    def __init__(self, bar: Bar) -> None:
        """Draw on that display."""
        self._bar = bar
        self._task = bar.add_task("", total=None, trials="starting")

    def begin(self, search: Search, ended: int, budget: int) -> None:
        """Show how much there is to do."""
        self._search, self._ended, self._budget = search, ended, budget
        self._bar.update(self._task, total=budget, completed=ended, trials=f"{ended}/{budget} trials")

    def epoch(self, attempt: Attempt, report: EpochReport) -> None:
        """Show the trial in training, and move the bar within it."""
        epoch = f"epoch {report.epoch}/{report.epochs}"
        self._bar.below = f"trial {attempt.number}, {epoch} ({attempt.cell.label})"
        self._bar.update(self._task, completed=self._ended + report.epoch / report.epochs)

    def ended(self, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> None:
        """Write a line above the bar."""
        self._ended += 1
        self._bar.update(self._task, completed=self._ended, trials=f"{self._ended}/{self._budget} trials")
        line = in_line(self._search, trial, best)
        self._bar.console.print(line, markup=False, highlight=False)


@contextmanager
def watching(console: Console) -> Iterator[SearchCallbacks]:
    """Show progress on a console: the bar if it is a terminal, lines if it is not."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (BarColumn(), TextColumn("{task.fields[trials]}"), TextColumn("left:"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        yield LiveBar(bar)


def in_line(search: Search, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> str:
    """Return what became of a trial, in one line."""
    where = trial.user_attrs.get("cell", "")
    if trial.state is TrialState.PRUNED:
        fate = f"stopped at epoch {trial.last_step} of {search.base.train.epochs}"
    elif trial.state is TrialState.FAIL:
        fate = "failed"
    else:
        fate = describe_objectives(search.objectives, trial.values)
    front = f"front of {len(best)}" if len(best) > 1 else ""
    leader = f"best: trial {best[0].number}" if len(best) == 1 else front
    return f"trial {trial.number}: {fate} ({where})" + (f"; {leader}" if leader else "")
