"""Criteria that rank runs without labels and without the split on which results are reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from studies.analysis.metrics import ELBO, IWAE, Measure
from studies.analysis.runs import StudyRun

Score = Callable[[StudyRun], float]
"""Function of a run; NaN if the run has no value."""


@dataclass(frozen=True)
class RankingCriterion:
    """A criterion in nats that ranks runs without labels."""

    label: str
    words: str
    """Description of the best run, such as `the lowest training loss`."""
    number: Score
    sign: int = 1
    """1 if higher is better, -1 if lower is better."""

    def score(self, run: StudyRun) -> float:
        """Return the criterion with the sign that makes higher better; NaN if the run has none.

        Args:
            run: the run.
        """
        return self.sign * self.number(run)

    def show(self, run: StudyRun) -> str:
        """Return the criterion as text with its name and unit."""
        return f"{self.label} {ELBO.show(self.number(run))} nats"

    def has(self, run: StudyRun) -> bool:
        """Return whether the run has a finite value."""
        return bool(np.isfinite(self.number(run)))


REFUSAL = (
    "No run is selected: the runs share neither validation images nor one training objective. The test split "
    "must not select runs that it then evaluates."
)


def _last(name: str) -> Score:
    return lambda run: float(run.curve[name][-1]) if run.complete and name in run.curve else np.nan


def _validation(measure: Measure) -> Score:
    name = measure.key.rpartition(".")[2]
    return lambda run: run.metrics.get(f"validation.{name}", np.nan)


BOUND = RankingCriterion(
    "validation ELBO", "the highest mixture ELBO on validation images", _validation(ELBO)
)
IWAE_BOUND = RankingCriterion(
    "validation IWAE bound", "the highest IWAE bound on validation images", _validation(IWAE)
)
"""For runs that share it; it orders runs in another way than their ELBO does."""
LOSS = RankingCriterion("training loss", "the lowest training loss in the last epoch", _last("loss"), sign=-1)
GATE = RankingCriterion(
    "gate's training loss",
    "the lowest training loss of the gate in the last epoch",
    _last("gate_loss"),
    sign=-1,
)
"""Loss of the gate, if the losses of experts do not reach it."""


def share_iwae_bound(runs: Sequence[StudyRun]) -> bool:
    """Return whether all complete runs have the IWAE bound, of as many samples, images and experts.

    Args:
        runs: the runs.
    """
    kinds = {run.iwae_estimate for run in runs if run.complete}
    return len(kinds) == 1 and None not in kinds


def ranking_criterion(runs: Sequence[StudyRun]) -> RankingCriterion | None:
    """Select the criterion that ranks runs: a validation bound, or else the training loss.

    A validation bound requires that all runs have the same validation images: it is the IWAE bound if all
    runs have it of as many samples and images, else the ELBO. The training loss requires that they have the
    same objective.

    Args:
        runs: the runs to rank.

    Returns:
        The criterion; None if neither applies, since the test split must not select runs that it evaluates.
    """
    complete = [run for run in runs if run.complete]
    if len({run.held_out for run in complete}) == 1 and any(map(BOUND.has, complete)):
        return IWAE_BOUND if share_iwae_bound(complete) and all(map(IWAE_BOUND.has, complete)) else BOUND
    if len({run.objective for run in complete}) == 1 and any(map(LOSS.has, complete)):
        return LOSS
    return None
