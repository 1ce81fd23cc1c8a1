"""Analysis of variance of a balanced grid: main effects and interactions of the axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

HUGE = 1e6
"""F above which scipy's noncentral distribution is NaN for some degrees of freedom."""


@dataclass(frozen=True)
class AnovaEffect:
    """One row of the table: a main effect of an axis or an interaction of several."""

    axes: tuple[int, ...]
    """Indices of axes; one is a main effect, two or more an interaction."""
    squares: float
    """Sum of squares."""
    freedom: int
    """Degrees of freedom."""
    f: float
    p: float
    partial_eta_squared: float
    """Share of variance explained after other effects are removed, by partial omega squared (Hays 1963),
    which corrects the upward bias of the sample share; 0 where the estimate is negative."""
    low: float
    """Lower end of the 95 % interval, from the interval of the noncentrality of F (Steiger 2004)."""
    high: float


@dataclass(frozen=True)
class Anova:
    """Effects by order of interaction, and the sums of squares of seeds and residual."""

    effects: tuple[AnovaEffect, ...]
    seeds_squares: float
    residual_squares: float
    residual_freedom: int
    n: int
    """Number of seeds with all cells."""


def analyze(grid: np.ndarray) -> Anova | None:
    """Compute the analysis of variance of a full grid, with seeds as blocks.

    Effects are orthogonal in a balanced grid, so the order of the axes does not matter.

    Args:
        grid: values, [levels of axis 1, ..., levels of axis k, seeds]. A seed with a NaN is excluded.

    Returns:
        The analysis; None if fewer than two seeds remain, an axis has a single level, or the residual is 0.

    References:
        Steiger, Beyond the F Test: Effect Size Confidence Intervals, Psychological Methods, 2004.
    """
    axes = grid.ndim - 1
    grid = grid[..., np.isfinite(grid).reshape(-1, grid.shape[-1]).all(axis=0)]
    n = grid.shape[-1]
    if n < 2 or axes < 1 or min(grid.shape[:-1]) < 2:
        return None
    subsets = [subset for size in range(1, axes + 1) for subset in combinations(range(axes), size)]
    squares: dict[tuple[int, ...], float] = {(): 0.0}
    for subset in subsets:
        others = tuple(axis for axis in range(grid.ndim) if axis not in subset)
        marginal = grid.mean(axis=others)
        between = grid.size / marginal.size * float(((marginal - grid.mean()) ** 2).sum())
        nested = (part for size in range(len(subset)) for part in combinations(subset, size))
        squares[subset] = max(0.0, between - sum(squares[part] for part in nested))
    cells = grid.size // n
    seeds = cells * float(((grid.mean(axis=tuple(range(axes))) - grid.mean()) ** 2).sum())
    total = float(((grid - grid.mean()) ** 2).sum())
    residual = max(0.0, total - seeds - sum(squares.values()))
    freedom = (cells - 1) * (n - 1)
    if residual <= 1e-12 * max(total, 1e-12):
        return None
    return Anova(
        effects=tuple(_effect(subset, squares[subset], grid.shape, residual, freedom) for subset in subsets),
        seeds_squares=seeds,
        residual_squares=residual,
        residual_freedom=freedom,
        n=n,
    )


def _effect(
    subset: tuple[int, ...], squares: float, shape: tuple[int, ...], residual: float, residual_freedom: int
) -> AnovaEffect:
    freedom = int(np.prod([shape[axis] - 1 for axis in subset]))
    f = (squares / freedom) / (residual / residual_freedom)
    runs = int(np.prod(shape))
    estimate = max(0.0, freedom * (f - 1))  # of the noncentrality
    low, high = noncentralities(f, freedom, residual_freedom)
    return AnovaEffect(
        axes=subset,
        squares=squares,
        freedom=freedom,
        f=f,
        p=float(scipy.stats.f.sf(f, freedom, residual_freedom)),
        partial_eta_squared=estimate / (estimate + runs),
        low=low / (low + runs),
        high=high / (high + runs),
    )


def noncentralities(f: float, freedom: int, residual_freedom: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of the noncentrality of an F statistic.

    Args:
        f: the F statistic.
        freedom: degrees of freedom of the effect.
        residual_freedom: degrees of freedom of the residuals.

    Returns:
        The lower and the upper end; an end is 0 if it has no solution.
    """
    return _noncentrality(f, freedom, residual_freedom, 0.975), _noncentrality(
        f, freedom, residual_freedom, 0.025
    )


def _noncentrality(f: float, freedom: int, residual_freedom: int, share: float) -> float:
    """Return the noncentrality at which P(F < f) = share; `scipy.special.ncfdtrinc` fails for large f."""
    if f > HUGE:  # the noise of the effect is negligible compared with that of the residual
        return float(freedom * f * scipy.stats.chi2.isf(share, residual_freedom) / residual_freedom)

    def excess(noncentral: float) -> float:
        return float(scipy.stats.ncf.cdf(f, freedom, residual_freedom, noncentral)) - share

    if scipy.stats.f.cdf(f, freedom, residual_freedom) <= share:
        return 0.0
    above = 1.0
    while excess(above) > 0:
        above *= 2
    return float(scipy.optimize.brentq(excess, 0.0, above))
