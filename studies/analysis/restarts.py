"""The best of several runs, chosen by a criterion that sees no labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from studies.analysis.judging import Score
from studies.analysis.study import StudyRun

MOST_RESTARTS = 5
"""Runs of a group that one is kept of, at most."""
GROUPS = 3
"""Fewer groups than these say nothing."""


def select_best(runs: Sequence[StudyRun], restarts: int, criterion: Score) -> list[StudyRun]:
    """Return the best run of each whole group of consecutive seeds.

    Args:
        runs: of one cell, by seed; one that failed cannot be judged, and a group of those keeps none.
        restarts: runs of a group.
        criterion: what decides.
    """
    groups = [runs[start : start + restarts] for start in range(0, len(runs) - restarts + 1, restarts)]
    alive = [[run for run in group if not np.isnan(criterion(run))] for group in groups]
    return [max(group, key=criterion) for group in alive if group]
