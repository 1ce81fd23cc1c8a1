"""Each cell against a baseline over the seeds they share."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.special
import scipy.stats

from studies.analysis import stats
from studies.analysis.stats import Matrix, Row

EXACT = 14
"""Up to this many pairs, all 2^n sign flips are counted; beyond it, `DRAWN` random ones."""
DRAWN = 19_999
POWER = 0.8
SAMPLES = 2000
"""Samples of n normal pairs that the power of the test is computed from."""


@dataclass(frozen=True)
class Comparison:
    """Arrays of one entry a cell; the baseline itself has NaN, and n = 0."""

    n: Row
    """Seeds that both the cell and the baseline have."""
    difference: Row
    """Mean of cell minus baseline over those seeds."""
    std: Row
    """Of the differences, with ddof = 1."""
    low: Row
    """Lower end of the 95 % interval of the difference (Student's t), one at a time."""
    high: Row
    p: Row
    """Two-sided sign-flip permutation test of no difference."""
    holm: Row
    """The same, corrected for the number of cells compared."""
    improvement: Row
    """Chance that a run of the cell is better than one of the baseline; a tie counts half."""
    effect: Row
    """Difference in units of the runs' own spread (Hedges' g with the average variance)."""
    detectable: Row
    """Smallest true difference of normal pairs of this spread whose `holm` is at most 0.05 with probability
    0.8, where no other difference shows; infinite where no difference of n pairs can do that."""


def compare(values: Matrix, baseline: int, better: int = 1) -> Comparison:
    """Compare the columns of [seeds, cells] with one of them; `better` is -1 where lower is better."""
    differences = values - values[:, [baseline]]
    differences[:, baseline] = np.nan
    n = stats.counts(differences)
    mean, std = stats.means(differences), stats.deviations(differences)
    low, high = stats.intervals(differences)
    p = sign_flip(differences)
    tests = int(np.isfinite(p).sum())
    least = np.array([minimum_detectable_effect(int(count), tests) for count in n])
    return Comparison(
        n=n,
        difference=mean,
        std=std,
        low=low,
        high=high,
        p=p,
        holm=stats.holm(p),
        improvement=_improvement(values, baseline, better),
        effect=_effect(values, differences, baseline),
        detectable=np.multiply(least, std, out=least.copy(), where=np.isfinite(least)),
    )


def sign_flip(differences: Matrix) -> Row:
    """Return the two-sided p-value of each column's mean under random signs; NaN for fewer than two pairs.

    Exact up to `EXACT` pairs, else drawn with a fixed seed and counting the observed signs too.
    """
    p = np.full(differences.shape[1], np.nan)
    for columns, block in stats.blocks(differences, least=2):
        result = scipy.stats.permutation_test(
            (block,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            axis=0,
            n_resamples=2 ** len(block) if len(block) <= EXACT else DRAWN,
            batch=max(1, 4_000_000 // block.size),
            rng=np.random.default_rng(stats.SEED),
        )
        p[columns] = np.atleast_1d(result.pvalue)
    return p


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p-value that n pairs can reach."""
    return min(1.0, 2 / _patterns(n))


def minimum_detectable_effect(n: int, tests: int = 1) -> float:
    """Return the minimum detectable effect of the sign-flip test, in standard deviations of the differences.

    The smallest mean of n normal differences that the test shows with probability `POWER` at 0.05, with
    Holm's correction for `tests` of which no other shows. NaN for fewer than two pairs; infinite where even
    the smallest p-value is above the corrected level.
    """
    if n < 2 or not tests:
        return float("nan")
    order = int((1 - stats.LEVEL) / tests * _patterns(n) / 2 + 1e-9)
    if order < 1:
        return float("inf")
    return float(np.quantile(_hidden(n)[order - 1], POWER))


def _patterns(n: int) -> int:
    """Return how many sign patterns the test counts, the observed one included."""
    return 2**n if n <= EXACT else DRAWN + 1


@functools.lru_cache(maxsize=8)
def _hidden(n: int) -> np.ndarray:
    """Return the shift with which the test rejects normal samples, by the rank it needs, [ranks, samples].

    A shifted sample's mean is reached by a pattern that flips the set F unless the mean of F is above 0. So
    at most r patterns, the observed one included, reach it once the shift is the r-th largest of all means of
    sets of -z; z and -z are alike.
    """
    draw = np.random.default_rng(stats.SEED)
    if n <= EXACT:
        flipped = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
    else:
        flipped = draw.integers(0, 2, size=(DRAWN, n))
    means = flipped / np.maximum(flipped.sum(axis=1, keepdims=True), 1)  # [patterns, n]
    ranks = int((1 - stats.LEVEL) * _patterns(n) / 2 + 1e-9)
    samples = draw.normal(size=(n, SAMPLES))
    parts = np.array_split(samples, -(-len(means) // 1000), axis=1)
    return np.hstack(
        [-np.sort(np.partition(-(means @ part), ranks - 1, axis=0)[:ranks], axis=0) for part in parts]
    )


def _improvement(values: Matrix, baseline: int, better: int) -> Row:
    """Mann-Whitney's U over the number of pairs, all runs of the cell against all of the baseline."""
    reference = values[:, baseline]
    reference = reference[np.isfinite(reference)]
    chance = np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        runs = values[:, column]
        runs = runs[np.isfinite(runs)]
        if column != baseline and runs.size and reference.size:
            chance[column] = ((np.sign(better * (runs[:, None] - reference)) + 1) / 2).mean()
    return chance


def _effect(values: Matrix, differences: Matrix, baseline: int) -> Row:
    shared = np.isfinite(differences)
    cell = stats.deviations(np.where(shared, values, np.nan))
    other = stats.deviations(np.where(shared, values[:, [baseline]], np.nan))
    pooled = np.sqrt((cell**2 + other**2) / 2)
    freedom = 2.0 * (np.maximum(stats.counts(differences), 2) - 1)
    unbiased = np.exp(
        scipy.special.gammaln(freedom / 2)
        - scipy.special.gammaln((freedom - 1) / 2)
        - np.log(freedom / 2) / 2
    )
    size = np.full(pooled.shape, np.nan)
    np.divide(stats.means(differences) * unbiased, pooled, out=size, where=pooled > 1e-12)
    return size
