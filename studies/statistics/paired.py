"""Paired comparison of cells with a reference cell over shared seeds."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy

from studies.statistics import stats
from studies.statistics.stats import Matrix, Row

MAX_EXACT_PAIRS = 14
"""Largest number of pairs with all 2^n sign flips; for more pairs, `NUM_SIGN_FLIPS` random ones are used."""
NUM_SIGN_FLIPS = 19_999
"""Number of random sign flips."""
POWER = 0.8
"""Probability of detecting the minimum detectable effect."""
NUM_SIMULATED = 2000
"""Number of simulated samples of n normal pairs for the power of the test."""


@dataclass(frozen=True)
class Comparison:
    """Comparison with the reference cell, one entry per cell; the reference itself has NaN and n = 0."""

    n: Row
    """Number of seeds that both the cell and the reference have."""
    difference: Row
    """Mean of cell minus reference over those seeds."""
    std: Row
    """Of the differences, with ddof = 1."""
    low: Row
    """Lower end of the 95 % interval of the difference (Student's t), not simultaneous."""
    high: Row
    p: Row
    """Two-sided sign-flip permutation test of no difference."""
    holm: Row
    """`p` with Holm's correction for the number of compared cells."""
    improvement: Row
    """Probability that a run of the cell is better than a run of the reference; a tie counts half."""
    effect: Row
    """Difference in units of the runs' own spread (Hedges' g with the average variance)."""
    detectable: Row
    """Minimum detectable effect: the smallest true difference of normal pairs of this spread for which `holm`
    is at most 0.05 with probability 0.8, if no other cell differs; infinite if no difference suffices."""


def compare(values: Matrix, reference: int, better: int = 1) -> Comparison:
    """Compare each cell with the reference cell, paired by seed.

    Args:
        values: [seeds, cells]; NaN for missing runs.
        reference: column of the reference cell.
        better: 1 if higher is better, -1 if lower is better.
    """
    differences = values - values[:, [reference]]
    differences[:, reference] = np.nan
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
        improvement=_improvement(values, reference, better),
        effect=_effect(values, differences, reference),
        detectable=np.multiply(least, std, out=least.copy(), where=np.isfinite(least)),
    )


def sign_flip(differences: Matrix) -> Row:
    """Test whether the mean of each column is zero, two-sided, by flips of signs.

    The test is exact up to `MAX_EXACT_PAIRS` pairs. For more, it uses random flips with a fixed seed and
    includes the observed signs.

    Args:
        differences: [pairs, columns]; NaN for missing pairs.

    Returns:
        One p-value per column; NaN for fewer than two pairs.
    """
    p = np.full(differences.shape[1], np.nan)
    for columns, block in stats.blocks(differences, least=2):
        result = scipy.stats.permutation_test(
            (block,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            axis=0,
            n_resamples=2 ** len(block) if len(block) <= MAX_EXACT_PAIRS else NUM_SIGN_FLIPS,
            batch=max(1, 4_000_000 // block.size),
            rng=np.random.default_rng(stats.SEED),
        )
        p[columns] = np.atleast_1d(result.pvalue)
    return p


def smallest_p(n: int) -> float:
    """Return the smallest possible two-sided p-value of n pairs."""
    return min(1.0, 2 / _patterns(n))


def minimum_detectable_effect(n: int, tests: int = 1) -> float:
    """Compute the minimum detectable effect of the sign-flip test, in standard deviations of the differences.

    It is the smallest mean of normal differences that the test detects at level 0.05 with probability
    `POWER`, under Holm's correction, if no other test detects a difference.

    Args:
        n: number of pairs.
        tests: number of tests in Holm's correction.

    Returns:
        The effect; NaN for fewer than two pairs, infinite if the smallest p exceeds the corrected level.
    """
    if n < 2 or not tests:
        return float("nan")
    order = int((1 - stats.LEVEL) / tests * _patterns(n) / 2 + 1e-9)
    if order < 1:
        return float("inf")
    return float(np.quantile(_hidden(n)[order - 1], POWER))


def _patterns(n: int) -> int:
    """Return the number of sign patterns of the test, including the observed one."""
    return 2**n if n <= MAX_EXACT_PAIRS else NUM_SIGN_FLIPS + 1


@functools.lru_cache(maxsize=8)
def _hidden(n: int) -> np.ndarray:
    """Return the shift at which the test rejects normal samples, by the required rank, [ranks, samples].

    A pattern that flips the set F reaches the mean of the shifted sample unless the mean of F is positive. So
    at most r patterns, including the observed one, reach it if the shift is the r-th largest of the means of
    all sets of -z; z and -z have the same distribution.
    """
    draw = np.random.default_rng(stats.SEED)
    if n <= MAX_EXACT_PAIRS:
        flipped = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
    else:
        flipped = draw.integers(0, 2, size=(NUM_SIGN_FLIPS, n))
    means = flipped / np.maximum(flipped.sum(axis=1, keepdims=True), 1)  # [patterns, n]
    ranks = int((1 - stats.LEVEL) * _patterns(n) / 2 + 1e-9)
    samples = draw.normal(size=(n, NUM_SIMULATED))
    parts = np.array_split(samples, -(-len(means) // 1000), axis=1)
    return np.hstack(
        [-np.sort(np.partition(-(means @ part), ranks - 1, axis=0)[:ranks], axis=0) for part in parts]
    )


def _improvement(values: Matrix, reference: int, better: int) -> Row:
    """Return Mann-Whitney's U of cell against reference, divided by the number of pairs of runs."""
    base = values[:, reference]
    base = base[np.isfinite(base)]
    chance = np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        runs = values[:, column]
        runs = runs[np.isfinite(runs)]
        if column != reference and runs.size and base.size:
            chance[column] = ((np.sign(better * (runs[:, None] - base)) + 1) / 2).mean()
    return chance


def _effect(values: Matrix, differences: Matrix, reference: int) -> Row:
    shared = np.isfinite(differences)
    cell = stats.deviations(np.where(shared, values, np.nan))
    other = stats.deviations(np.where(shared, values[:, [reference]], np.nan))
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
