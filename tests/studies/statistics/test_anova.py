from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats

from studies.statistics import anova


def least_squares(grid: np.ndarray, subset: tuple[int, ...]) -> tuple[float, float]:
    """F and p of an effect from two nested regressions on indicator columns: with it and without."""
    places = list(product(*map(range, grid.shape)))
    y = np.array([grid[place] for place in places])
    axes = grid.ndim - 1
    terms = [part for size in range(1, axes + 1) for part in combinations(range(axes), size)] + [(axes,)]

    def fit(chosen: list[tuple[int, ...]]) -> tuple[float, int]:
        columns = [np.ones(len(y))]
        for term in chosen:
            for key in product(*(range(grid.shape[axis]) for axis in term)):
                columns.append(
                    np.array([all(p[a] == k for a, k in zip(term, key, strict=True)) for p in places], float)
                )
        design = np.stack(columns, axis=1)
        solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
        return float(((y - design @ solution) ** 2).sum()), int(rank)

    full, rank = fit(terms)
    # Indicators of a larger term span those of its parts, so those that hold the effect go too.
    below = [term for term in terms if not set(subset) <= set(term) or term == (axes,)]
    with_it, rank_with = fit([*below, subset])
    without, rank_without = fit(below)
    freedom = rank_with - rank_without
    f = ((without - with_it) / freedom) / (full / (len(y) - rank))
    return f, float(scipy.stats.f.sf(f, freedom, len(y) - rank))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 2, 2, 3)])
def test_effects_are_those_of_nested_regressions(shape: tuple[int, ...]) -> None:
    grid = np.random.default_rng(0).normal(size=shape) + np.arange(shape[0]).reshape(
        -1, *[1] * (len(shape) - 1)
    )
    found = anova.analyze(grid)
    assert found is not None
    for effect in found.effects:
        f, p = least_squares(grid, effect.axes)
        assert effect.f == pytest.approx(f)
        assert effect.p == pytest.approx(p)


def test_sums_of_squares_add_up_to_the_total() -> None:
    grid = np.random.default_rng(1).normal(size=(3, 2, 4, 5))
    found = anova.analyze(grid)
    assert found is not None
    parts = sum(effect.squares for effect in found.effects) + found.seeds_squares + found.residual_squares
    assert parts == pytest.approx(((grid - grid.mean()) ** 2).sum())
    freedom = sum(effect.freedom for effect in found.effects) + found.residual_freedom + found.n - 1
    assert freedom == grid.size - 1


def test_an_axis_that_does_all_explains_nearly_all() -> None:
    grid = np.random.default_rng(2).normal(0, 0.01, size=(3, 2, 5)) + np.array([0.0, 1.0, 2.0])[:, None, None]
    found = anova.analyze(grid)
    assert found is not None
    shares = {effect.axes: effect.partial_eta_squared for effect in found.effects}
    assert shares[0,] > 0.99
    assert shares[1,] < 0.3


def test_a_seed_without_a_run_in_some_cell_is_left_out() -> None:
    grid = np.random.default_rng(3).normal(size=(2, 3, 4))
    torn = grid.copy()
    torn[1, 2, 3] = np.nan
    found, oracle = anova.analyze(torn), anova.analyze(grid[..., :3])
    assert found == oracle
    assert found is not None
    assert found.n == 3


@pytest.mark.parametrize(
    "grid",
    [np.zeros((2, 2, 1)), np.zeros((1, 3)), np.full((2, 3, 4), 0.5), np.full((2, 2, 3), np.nan)],
    ids=["one seed", "one level", "no spread", "no runs"],
)
def test_a_degenerate_grid_has_no_anova(grid: np.ndarray) -> None:
    assert anova.analyze(grid) is None


@pytest.mark.parametrize(
    ("f", "freedom", "residual"), [(11.221, 4, 50), (1.2, 2, 8), (0.9, 6, 20), (900.0, 3, 40), (5e5, 3, 400)]
)
def test_the_noncentralities_leave_a_fortieth_on_each_side(f: float, freedom: int, residual: int) -> None:
    draw = np.random.default_rng(7)
    low, high = anova.noncentralities(f, freedom, residual)
    for noncentral, share in ((low, 0.975), (high, 0.025)):
        if noncentral > 0:
            draws = draw.noncentral_chisquare(freedom, noncentral, 40_000) / freedom
            draws /= draw.chisquare(residual, 40_000) / residual
            assert np.mean(draws <= f) == pytest.approx(share, abs=0.004)


@pytest.mark.parametrize("f", [0.01, 0.5, 1.0, 1.5, 3.0, 40.0, 1e4])
@pytest.mark.parametrize(("freedom", "residual"), [(1, 2), (1, 20), (3, 6), (11, 142), (40, 80)])
def test_the_estimate_lies_within_its_interval(f: float, freedom: int, residual: int) -> None:
    low, high = anova.noncentralities(f, freedom, residual)
    assert 0 <= low <= max(0.0, freedom * (f - 1)) <= high or (high == 0 and f < 1)


@pytest.mark.parametrize("strength", [0.0, pytest.param(0.5, marks=pytest.mark.slow), 3.0])
def test_partial_eta_squared_is_unbiased_and_its_interval_covers(strength: float) -> None:
    draw, studies = np.random.default_rng(4), 300
    shift = strength * np.array([-1.0, 0.0, 1.0])
    truth = shift.var() / (shift.var() + 1.0)  # of the means of the levels, and of the runs around them
    seeds = draw.normal(0, 5.0, size=(studies, 6))  # a block's own level is no part of either
    held, estimates = 0, []
    for blocks in seeds:
        found = anova.analyze(draw.normal(size=(3, 2, 6)) + shift[:, None, None] + blocks)
        assert found is not None
        effect = found.effects[0]
        held += effect.low <= truth <= effect.high
        estimates.append(effect.partial_eta_squared)
    assert held / studies == pytest.approx(0.975 if strength == 0 else 0.95, abs=0.03)
    assert np.mean(estimates) == pytest.approx(truth, abs=0.03)


@pytest.mark.parametrize(("freedom", "residual"), [(1, 2), (3, 8), (5, 40)])
def test_the_interval_of_a_huge_f_continues_that_of_large_ones(freedom, residual):
    """Relative to F, the ends no longer move: they are quantiles of the residual's own chi-squared."""
    below, above = (anova.noncentralities(f, freedom, residual) for f in (0.9e6, 1e12))
    assert [end / 0.9e6 for end in below] == pytest.approx([end / 1e12 for end in above], rel=0.01)
