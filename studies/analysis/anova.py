"""How much of a balanced grid's variance each axis explains, alone and with others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.optimize
import scipy.stats

HUGE = 1e6
"""F above which scipy's noncentral distribution is NaN for some degrees of freedom."""


@dataclass(frozen=True)
class AnovaEffect:
    """One line of the table: an axis, several together, the seeds, or the residual."""

    axes: tuple[int, ...]
    """Which axes of the grid; one is a main effect, two an interaction."""
    squares: float
    """Sum of squares."""
    freedom: int
    """Degrees of freedom."""
    f: float
    p: float
    partial_eta_squared: float
    """Share of the variance of this effect's means and of the runs' own that is the former, estimated without
    the upward bias of the sample's share (partial omega squared, Hays 1963); 0 where that is negative."""
    low: float
    """Lower end of its 95 % interval, from that of the noncentrality of F (Steiger 2004)."""
    high: float


@dataclass(frozen=True)
class Anova:
    """Effects of the axes by order, then what is left."""

    effects: tuple[AnovaEffect, ...]
    seeds_squares: float
    residual_squares: float
    residual_freedom: int
    n: int
    """Seeds in which the whole grid is there."""


def analyze(grid: np.ndarray) -> Anova | None:
    """Return the analysis of variance of a full grid, [levels of axis 1, ..., levels of axis k, seeds].

    Seeds are blocks: each has one run in every cell. A seed in which any cell has no number is left out
    whole; None where fewer than two seeds remain, or an axis has a single level.

    Effects are orthogonal in a balanced grid, so the order of the axes does not matter.

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
    """Return the ends of the 95 % interval of the noncentrality of F; 0 where no noncentrality is so low."""
    return _noncentrality(f, freedom, residual_freedom, 0.975), _noncentrality(
        f, freedom, residual_freedom, 0.025
    )


def _noncentrality(f: float, freedom: int, residual_freedom: int, share: float) -> float:
    """Return with which noncentrality F lies below f that often; scipy's `ncfdtrinc` fails for large f."""

    if f > HUGE:  # the effect's own noise is nothing beside that of the residual
        return float(freedom * f * scipy.stats.chi2.isf(share, residual_freedom) / residual_freedom)

    def excess(noncentral: float) -> float:
        return float(scipy.stats.ncf.cdf(f, freedom, residual_freedom, noncentral)) - share

    if scipy.stats.f.cdf(f, freedom, residual_freedom) <= share:
        return 0.0
    above = 1.0
    while excess(above) > 0:
        above *= 2
    return float(scipy.optimize.brentq(excess, 0.0, above))
