"""Ranks of cells across data sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

MIN_DATA_SETS = 5
"""Smallest number of data sets for a test of ranks: with fewer, Friedman's approximation fails."""
LEVEL = 0.05


@dataclass(frozen=True)
class Ranks:
    """Ranks of cells by their means; 1 is the best, and ties share the mean of their ranks."""

    by_data: np.ndarray
    """Rank on each data set, [data sets, cells]."""
    mean: np.ndarray
    """Mean over the data sets, [cells]."""
    p: float
    """Friedman's test of equal ranks; NaN for fewer than `MIN_DATA_SETS` data sets or 3 cells."""
    distance: float
    """Critical difference (Nemenyi): mean ranks that differ by more differ significantly; NaN as for `p`."""


def rank(means: np.ndarray, better: int = 1) -> Ranks:
    """Rank cells on each data set.

    Args:
        means: mean of each cell, [data sets, cells], without NaN.
        better: 1 if higher is better, -1 if lower is better.

    References:
        Demsar (2006), statistical comparisons of classifiers over multiple data sets.
    """
    sets, cells = means.shape
    ranks = scipy.stats.rankdata(-better * means, axis=1)
    p = distance = float("nan")
    if sets >= MIN_DATA_SETS and cells > 2:
        p = float(scipy.stats.friedmanchisquare(*means.T).pvalue)
        reach = scipy.stats.studentized_range.isf(LEVEL, cells, np.inf) / np.sqrt(2)
        distance = float(reach * np.sqrt(cells * (cells + 1) / (6 * sets)))
    return Ranks(ranks, ranks.mean(axis=0), p, distance)
