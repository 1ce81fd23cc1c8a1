"""How runs are ranked without labels: never by the split that their numbers are reported on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from studies.analysis.metrics import ELBO
from studies.analysis.study import StudyRun

Score = Callable[[StudyRun], float]
"""Run to number; NaN where a run has none."""


@dataclass(frozen=True)
class Judge:
    """One number of a run, in nats, that ranks runs without labels."""

    label: str
    words: str
    """What the best run has."""
    number: Score
    sign: int = 1
    """-1 where lower is better."""

    def score(self, run: StudyRun) -> float:
        """Return the number so that higher is better; NaN where the run has none."""
        return self.sign * self.number(run)

    def show(self, run: StudyRun) -> str:
        """Return the number with its name and unit."""
        return f"{self.label} {ELBO.show(self.number(run))} nats"

    def has(self, run: StudyRun) -> bool:
        """Return whether the run can be ranked."""
        return bool(np.isfinite(self.number(run)))


REFUSAL = (
    "No run is selected: the runs share neither validation images nor one training objective. The test split "
    "must not select runs that it then evaluates."
)


def _last(name: str) -> Score:
    return lambda run: float(run.curve[name][-1]) if run.complete and name in run.curve else np.nan


BOUND = Judge(
    "validation ELBO",
    "the highest mixture ELBO on validation images",
    lambda run: run.metrics.get(f"validation.{ELBO.key.rpartition('.')[2]}", np.nan),
)
LOSS = Judge("training loss", "the lowest training loss in the last epoch", _last("loss"), sign=-1)
GATE = Judge(
    "gate's training loss",
    "the lowest training loss of the gate in the last epoch",
    _last("gate_loss"),
    sign=-1,
)
"""What the gate learns by where experts do not steer it."""


def judge(runs: Sequence[StudyRun]) -> Judge | None:
    """Return what ranks the runs: the validation ELBO, or else the training loss.

    The former needs one set of validation images, the latter one objective. None where neither serves: the
    test split must not choose what it then reports on.
    """
    complete = [run for run in runs if run.complete]
    if len({run.held_out for run in complete}) == 1 and any(map(BOUND.has, complete)):
        return BOUND
    if len({run.objective for run in complete}) == 1 and any(map(LOSS.has, complete)):
        return LOSS
    return None
