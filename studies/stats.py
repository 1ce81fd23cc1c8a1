"""Statistics of a matrix of runs, [seeds, cells]. NaN is a run that is not there: it lowers n alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats

Matrix = np.ndarray
Row = np.ndarray
"""One number a cell."""

LEVEL = 0.95
RESAMPLES = 1999
SEED = 2019
"""Of every bootstrap and every drawn permutation, so that a page is the same each time."""

COVERAGE = {2: 0.50, 3: 0.72, 4: 0.80, 5: 0.84, 7: 0.87, 10: 0.90, 20: 0.93, 50: 0.94}
"""How often the BCa interval of n normal values holds their mean, by simulation: too seldom if n is small."""


@dataclass(frozen=True)
class Summary:
    """What is said of each cell; arrays of one entry a cell."""

    n: Row
    mean: Row
    std: Row
    """With ddof = 1; NaN where n < 2."""
    median: Row
    iqm: Row
    """Mean of the middle half."""
    low: Row
    """Lower end of the 95 % interval of the mean (BCa bootstrap)."""
    high: Row


def summarize(values: Matrix) -> Summary:
    """Return what is said of each column of [seeds, cells]."""
    n = counts(values)
    low, high = intervals(values)
    return Summary(
        n=n,
        mean=means(values),
        std=deviations(values),
        median=_by_count(values, lambda column: np.median(column, axis=0)),
        iqm=_by_count(values, lambda column: scipy.stats.trim_mean(column, 0.25, axis=0)),
        low=low,
        high=high,
    )


def counts(values: Matrix) -> Row:
    """Return how many runs each cell has."""
    return np.isfinite(values).sum(axis=0)


def means(values: Matrix) -> Row:
    """Return the mean of each cell over the runs it has; NaN where it has none."""
    return _by_count(values, lambda column: column.mean(axis=0))


def deviations(values: Matrix) -> Row:
    """Return the standard deviation of each cell with ddof = 1; NaN where n < 2."""
    return _by_count(values, lambda column: column.std(axis=0, ddof=1), least=2)


def intervals(values: Matrix, level: float = LEVEL) -> tuple[Row, Row]:
    """Return the bias-corrected and accelerated bootstrap interval (Efron 1987) of each cell's mean.

    NaN where n < 2 or all runs are equal: without spread there is nothing to infer from.
    """
    low, high = np.full((2, values.shape[1]), np.nan)
    for columns, block in blocks(values, least=2):
        spread = ~constant(block)
        if not spread.any():
            continue
        center, scale = block[:, spread].mean(axis=0), block[:, spread].std(axis=0)
        result = scipy.stats.bootstrap(
            ((block[:, spread] - center) / scale,),
            _rounded_mean,
            axis=0,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, 4_000_000 // spread.sum() // len(block)),
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        low[columns[spread]] = center + scale * result.low
        high[columns[spread]] = center + scale * result.high
    return low, high


def _rounded_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """BCa counts resamples whose mean ties with the sample's: rounding errors must not decide that."""
    return np.round(values.mean(axis=axis), 9)


def guarded_intervals(values: Matrix, comparisons: int = 1) -> tuple[Row, Row]:
    """Return the interval that a sentence may rest on: the wider of BCa and Student's t at each end.

    Few runs make BCa too narrow (see `COVERAGE`), skewed ones make Student's t miss to one side.
    Student's t is widened so that `comparisons` such intervals hold together (Bonferroni).
    """
    low, high = intervals(values)
    half = deviations(values) / np.sqrt(np.maximum(counts(values), 1))
    half = half * scipy.stats.t.isf((1 - LEVEL) / (2 * comparisons), np.maximum(counts(values) - 1, 1))
    mean = means(values)
    return np.minimum(low, mean - half), np.maximum(high, mean + half)


def holm(p: Row) -> Row:
    """Return p-values corrected for being many (Holm 1979); NaN is no test and counts for none."""
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def whole_block(present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns (as masks) between which nothing is absent, from [rows, columns] of booleans.

    What lacks the largest share goes first; a column before a row, since rows are seeds and make n.
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


def _by_count(values: Matrix, statistic: Callable[[Matrix], Row], least: int = 1) -> Row:
    result = np.full(values.shape[1], np.nan)
    for columns, block in blocks(values, least):
        result[columns] = statistic(block)
    return result


def blocks(values: Matrix, least: int) -> list[tuple[np.ndarray, Matrix]]:
    """Return the columns of equally many runs: indices and [n, columns], sorted so that order is nothing."""
    n = counts(values)
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)
    sizes = [size for size in np.unique(n) if size >= least]
    return [(np.flatnonzero(n == size), ordered[:size, n == size]) for size in sizes]


def constant(block: Matrix) -> np.ndarray:
    """Return which columns have no spread beyond rounding."""
    return np.ptp(block, axis=0) <= 1e-12 * np.maximum(1.0, np.abs(block).max(axis=0))
