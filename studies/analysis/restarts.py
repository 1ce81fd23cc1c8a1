"""Best of several restarts, selected by a criterion without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from studies.analysis.criteria import Score
from studies.analysis.runs import StudyRun

MAX_RESTARTS = 5
"""Largest number of runs in a group."""
GROUPS = 3
"""Smallest number of groups."""


def select_best(runs: Sequence[StudyRun], restarts: int, criterion: Score) -> list[StudyRun]:
    """Return the best run of each complete group of consecutive seeds.

    Args:
        runs: runs of one cell, ordered by seed. Runs without a criterion, such as failed ones, are skipped; a
            group of only such runs has no result.
        restarts: number of runs in a group.
        criterion: score of a run; higher is better.
    """
    groups = [runs[start : start + restarts] for start in range(0, len(runs) - restarts + 1, restarts)]
    alive = [[run for run in group if not np.isnan(criterion(run))] for group in groups]
    return [max(group, key=criterion) for group in alive if group]
