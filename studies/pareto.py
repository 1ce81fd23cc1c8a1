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
    level = (means[:, None, :] >= means[None, :, :]).all(axis=2)  # [other, cell]
    above = (low[:, None, :] > high[None, :, :]).any(axis=2)
    dominated = (level & above & whole[:, None]).any(axis=0)
    return whole & ~dominated
