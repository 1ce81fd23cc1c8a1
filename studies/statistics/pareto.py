"""Pareto front of cells under several measures, with uncertainty."""

from __future__ import annotations

import numpy as np


def front(means: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which cells are not dominated by another cell.

    A cell is dominated if another cell has a mean at least as high on every measure and an interval entirely
    above on at least one. A cell without a mean on some measure is not on the front. A cell without intervals
    (a single run) neither dominates nor is dominated.

    Args:
        means: [cells, measures]; higher is better.
        low: lower ends of intervals, [cells, measures].
        high: upper ends of intervals, [cells, measures].

    Returns:
        Mask of the front, [cells].
    """
    whole = np.isfinite(means).all(axis=1)
    dominated = np.zeros(len(means), dtype=bool)
    for other in np.flatnonzero(whole & np.isfinite(low).any(axis=1)):
        candidates = np.flatnonzero(whole & ~dominated)
        level = (means[other] >= means[candidates]).all(axis=1)
        above = (low[other] > high[candidates]).any(axis=1)
        dominated[candidates[level & above]] = True
    return whole & ~dominated
