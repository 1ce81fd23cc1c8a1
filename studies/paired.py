"""Each cell against a baseline over the seeds they share."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.special
import scipy.stats

from studies import stats
from studies.stats import Matrix, Row

EXACT = 14
"""Up to this many pairs, all 2^n sign flips are counted; beyond it, `DRAWN` random ones."""
DRAWN = 4999
POWER = 0.8


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
    """Lower end of the 95 % interval of the difference (BCa)."""
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
    """Smallest true difference that n pairs of this spread would show with probability 0.8."""


def compare(values: Matrix, baseline: int, better: int = 1) -> Comparison:
    """Compare the columns of [seeds, cells] with one of them; `better` is -1 where lower is better."""
    differences = values - values[:, [baseline]]
    differences[:, baseline] = np.nan
    n = stats.counts(differences)
    mean, std = stats.means(differences), stats.deviations(differences)
    low, high = stats.intervals(differences)
    p = sign_flip(differences)
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
        detectable=np.array([detectable(int(count)) for count in n]) * std,
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
    return max(2.0 ** (1 - n), 2 / (DRAWN + 1)) if n > EXACT else min(1.0, 2.0 ** (1 - n))


@functools.lru_cache
def detectable(n: int) -> float:
    """Return what difference n pairs show with power 0.8 in a t-test at 0.05, in standard deviations.

    NaN for fewer than two pairs. The far tail of the two-sided test is left out: it adds less than 1e-6.
    """
    if n < 2:
        return float("nan")
    critical = scipy.stats.t.isf((1 - stats.LEVEL) / 2, n - 1)
    return float(scipy.special.nctdtrinc(n - 1, 1 - POWER, critical) / np.sqrt(n))


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
