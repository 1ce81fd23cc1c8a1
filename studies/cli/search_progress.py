"""Progress of a search: its trials, and the best ones so far."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from studies.cli.display import Display, display, evaluation_in_words
from studies.search.objectives import describe_objectives
from studies.search.run import SearchCallbacks
from studies.search.search import Search
from studies.search.trials import Attempt

if TYPE_CHECKING:
    from studies.execution.events import EpochReport, EvaluationReport


@contextmanager
def show_progress(console: Console) -> Iterator[SearchCallbacks]:
    """Show the progress of a search on a console."""
    with display(console) as shown:
        yield SearchProgress(shown)


class SearchProgress:
    """Shows the progress of a search."""

    def __init__(self, shown: Display) -> None:
        """Show the progress on a display."""
        self._shown = shown

    def begin(self, search: Search, ended: int, budget: int) -> None:
        """Show the number of planned trials."""
        self._search, self._earlier, self._ended, self._budget = search, ended, ended, budget
        self._start = time.monotonic()
        self._move()

    def epoch(self, attempt: Attempt, report: EpochReport) -> None:
        """Show the trial in training, and move the bar within it."""
        self._move(report.epoch / report.epochs)
        epoch = f"epoch {report.epoch}/{report.epochs}"
        self._shown.current(f"trial {attempt.number}: {epoch} ({attempt.cell.label})")

    def evaluation(self, attempt: Attempt, report: EvaluationReport) -> None:
        """Show the trial in evaluation, and its images."""
        self._shown.current(f"trial {attempt.number}: {evaluation_in_words(report)} ({attempt.cell.label})")

    def ended(self, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> None:
        """Write the result of a trial."""
        self._ended += 1
        self._move()
        self._shown.line(in_line(self._search, trial, best))

    def _move(self, part: float = 0.0) -> None:
        """Show the progress, with a part of the next trial."""
        here = self._ended - self._earlier
        seconds = (time.monotonic() - self._start) / here if here else None
        left = None if seconds is None else seconds * max(0, self._budget - self._ended)
        self._shown.move(self._ended + part, self._budget, f"{self._ended}/{self._budget} trials", left)


def in_line(search: Search, trial: FrozenTrial, best: Sequence[FrozenTrial]) -> str:
    """Return the result of a trial, in one line.

    Args:
        search: the search.
        trial: the trial, which has ended.
        best: the best trials so far.
    """
    where = trial.user_attrs.get("cell", "")
    if trial.state is TrialState.PRUNED:
        result = f"stopped at epoch {trial.last_step} of {search.base.train.epochs}"
    elif trial.state is TrialState.FAIL:
        result = "failed"
    else:
        result = describe_objectives(search.objectives, trial.values)
    front = f"front of {len(best)}" if len(best) > 1 else ""
    leader = f"best: trial {best[0].number}" if len(best) == 1 else front
    return f"trial {trial.number}: {result} ({where})" + (f"; {leader}" if leader else "")
