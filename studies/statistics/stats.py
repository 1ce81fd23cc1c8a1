"""Statistics of a matrix of runs, [seeds, cells]. NaN is a missing run, which reduces n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

Matrix = np.ndarray
Row = np.ndarray
"""One number per cell."""

LEVEL = 0.95
"""Confidence level of intervals."""
SEED = 2019
"""Seed of all random permutations and simulations, so that reports are reproducible."""

COVERAGE = {
    2: (0.91, 0.74),
    3: (0.89, 0.53),
    4: (0.88, 0.59),
    5: (0.88, 0.67),
    7: (0.89, 0.79),
    10: (0.90, 0.89),
    15: (0.91, 0.93),
    20: (0.92, 0.92),
    50: (0.94, 0.94),
}
"""Simulated coverage of intervals for n exponential values (skewness 2), and for n values of which one in
five lies far from the others; for n normal values it is 0.95."""

CUTOFFS = {3: 103.0, 4: 16.1, 5: 18.7, 6: 10.3, 7: 10.6, 8: 7.9, 9: 8.0, 10: 6.9, 15: 6.0, 20: 5.2, 50: 4.5}
"""Modified z-score that 1 % of samples of n normal values exceed; 8 to 29 % exceed the usual 3.5."""


@dataclass(frozen=True)
class Summary:
    """Summary of each cell; arrays have one entry per cell."""

    n: Row
    mean: Row
    std: Row
    """With ddof = 1; NaN where n < 2."""
    median: Row
    iqm: Row
    """Interquartile mean, the mean of the middle half (Agarwal et al. 2021)."""
    low: Row
    """Lower end of the 95 % interval of the mean (Student's t)."""
    high: Row


def summarize(values: Matrix, ends: tuple[float, float] = (-np.inf, np.inf)) -> Summary:
    """Summarize each cell.

    Args:
        values: [seeds, cells]; NaN for missing runs.
        ends: lower and upper limit of all values.
    """
    n = counts(values)
    low, high = intervals(values, ends=ends)
    return Summary(
        n=n,
        mean=means(values),
        std=deviations(values),
        median=_by_count(values, _median),
        iqm=_by_count(values, _middle_half),
        low=low,
        high=high,
    )


def counts(values: Matrix) -> Row:
    """Return the number of runs of each cell.

    Args:
        values: one value per run, NaN without a run, [seeds, cells].

    Returns:
        Numbers, [cells].
    """
    return np.isfinite(values).sum(axis=0)


def means(values: Matrix) -> Row:
    """Return the mean of each cell over its runs.

    Args:
        values: one value per run, NaN without a run, [seeds, cells].

    Returns:
        Means, NaN without runs, [cells].
    """
    return _by_count(values, lambda column: column.mean(axis=0))


def deviations(values: Matrix) -> Row:
    """Return the standard deviation (ddof = 1) of each cell over its runs.

    Args:
        values: one value per run, NaN without a run, [seeds, cells].

    Returns:
        Standard deviations, NaN with fewer than two runs, [cells].
    """
    return _by_count(values, lambda column: column.std(axis=0, ddof=1), least=2)


def intervals(
    values: Matrix, comparisons: int = 1, ends: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[Row, Row]:
    """Compute Student's t interval of the mean of each cell, used in summaries, tables and figures.

    Its coverage is exact for normal values at every n; `COVERAGE` has simulated values for others.

    Args:
        values: [seeds, cells]; NaN for missing runs.
        comparisons: number of intervals that hold simultaneously (Bonferroni).
        ends: lower and upper limit of all values, to which intervals are clipped.

    Returns:
        Lower and upper ends, [cells] each; NaN if n < 2 or all runs have the same value.
    """
    low, high = np.full((2, values.shape[1]), np.nan)
    for columns, block in blocks(values, least=2):
        spread = ~constant(block)
        block, columns = block[:, spread], columns[spread]
        n = len(block)
        reach = -scipy.special.stdtrit(n - 1, (1 - LEVEL) / (2 * comparisons)) / np.sqrt(n)
        mean, half = block.mean(axis=0), reach * block.std(axis=0, ddof=1)
        low[columns], high[columns] = np.clip((mean - half, mean + half), *ends)
    return low, high


def simulated(n: int) -> int:
    """Return the largest number of runs up to n (at least 2) with a simulated coverage."""
    return max(size for size in COVERAGE if size <= n)


def outliers(values: Matrix) -> np.ndarray:
    """Return which runs are outliers of their cell.

    A run is an outlier if its modified z-score, 0.6745 |x - median| / MAD, exceeds `CUTOFFS` for its n. There
    is no outlier if n < 3 or more than half of the runs have the same value.

    Args:
        values: [seeds, cells]; NaN for missing runs.

    Returns:
        Mask of outliers, [seeds, cells].

    References:
        Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993.
    """
    present = np.isfinite(values)
    distance = np.abs(values - _by_count(values, _median))
    scale = _by_count(distance, _median) / 0.6745
    cutoff = [
        CUTOFFS[max(size for size in CUTOFFS if size <= n)] if n > 2 else np.inf for n in counts(values)
    ]
    scores = np.divide(distance, scale, out=np.zeros_like(distance), where=present & (scale > 0))
    return scores > cutoff


def holm(p: Row) -> Row:
    """Correct p-values for multiple tests.

    Args:
        p: p-values; NaN is not counted as a test, [tests].

    Returns:
        Corrected p-values, [tests].

    References:
        Holm (1979), a simple sequentially rejective multiple test procedure.
    """
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def complete_block(present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Remove rows and columns until no value is missing.

    The row or column with the largest missing share is removed first. In case of ties a column is removed,
    since rows are seeds, which determine n.

    Args:
        present: mask of existing values, [rows, columns].

    Returns:
        Masks of the remaining rows and columns.
    """
    rows, columns = np.ones(present.shape[0], dtype=bool), np.ones(present.shape[1], dtype=bool)
    while rows.any() and columns.any() and not present[np.ix_(rows, columns)].all():
        absent = ~present & rows[:, None] & columns[None, :]
        by_row, by_column = absent.sum(axis=1) / columns.sum(), absent.sum(axis=0) / rows.sum()
        if by_row.max() > by_column.max():
            rows[by_row.argmax()] = False
        else:
            columns[by_column.argmax()] = False
    return rows, columns


def _median(block: Matrix) -> Row:
    return np.median(block, axis=0)


def _middle_half(block: Matrix) -> Row:
    """Return the mean of sorted values, weighted by how much of each lies between the quartiles."""
    edges = np.clip(np.linspace(0, 1, len(block) + 1), 0.25, 0.75)
    return 2 * np.diff(edges) @ block


def _by_count(values: Matrix, statistic: Callable[[Matrix], Row], least: int = 1) -> Row:
    result = np.full(values.shape[1], np.nan)
    for columns, block in blocks(values, least):
        result[columns] = statistic(block)
    return result


def blocks(values: Matrix, least: int) -> list[tuple[np.ndarray, Matrix]]:
    """Group cells by number of runs.

    Args:
        values: one value per run, NaN without a run, [seeds, cells].
        least: smallest number of runs of a group.

    Returns:
        Indices of the cells of each group, and their sorted values, [n, cells of the group].
    """
    n = counts(values)
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)
    sizes = [size for size in np.unique(n) if size >= least]
    return [(np.flatnonzero(n == size), ordered[:size, n == size]) for size in sizes]


def constant(block: Matrix) -> np.ndarray:
    """Return which columns are constant up to rounding.

    Args:
        block: values without NaN, [n, columns].
    """
    return np.ptp(block, axis=0) <= 1e-12 * np.maximum(1.0, np.abs(block).max(axis=0))
