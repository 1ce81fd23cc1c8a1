"""Which cells no other cell surely beats when several measures count."""

from __future__ import annotations

import numpy as np


def front(means: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which cells are not dominated, from [cells, measures] of which higher is better.

    A cell is dominated where another's mean is at least as high on every measure, and its interval lies
    wholly above on at least one. A cell without a mean on some measure is not on the front; one without
    intervals (a single run) neither dominates nor is dominated.
    """
    whole = np.isfinite(means).all(axis=1)
    dominated = np.zeros(len(means), dtype=bool)
    for other in np.flatnonzero(whole & np.isfinite(low).any(axis=1)):
        candidates = np.flatnonzero(whole & ~dominated)
        level = (means[other] >= means[candidates]).all(axis=1)
        above = (low[other] > high[candidates]).any(axis=1)
        dominated[candidates[level & above]] = True
    return whole & ~dominated
