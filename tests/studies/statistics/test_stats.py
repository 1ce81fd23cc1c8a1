from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.statistics import stats


def matrix(seed: int, seeds: int = 7, cells: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=(seeds, cells))


def test_a_missing_run_changes_n_and_no_mean() -> None:
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [8.0, 4.0, np.nan]])
    summary = stats.summarize(values)
    oracle = pd.DataFrame(values)
    assert summary.n.tolist() == [3, 2, 0]
    np.testing.assert_allclose(summary.mean, oracle.mean())
    np.testing.assert_allclose(summary.std, oracle.std(ddof=1))
    np.testing.assert_allclose(summary.median, oracle.median())


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    column = np.array([[100.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [-100.0]])
    assert stats.summarize(column).iqm[0] == np.mean([2.0, 3.0, 4.0, 5.0])


def test_one_run_has_neither_spread_nor_interval() -> None:
    summary = stats.summarize(np.array([[0.5, 0.7]]))
    assert summary.mean.tolist() == [0.5, 0.7]
    assert np.isnan([summary.std, summary.low, summary.high]).all()


def test_runs_that_all_agree_have_no_interval() -> None:
    summary = stats.summarize(np.full((5, 1), 0.1 + 0.2))
    assert summary.std[0] == 0
    assert np.isnan([summary.low, summary.high]).all()


def test_intervals_are_those_of_scipy_for_each_cell_alone() -> None:
    values = matrix(0)
    values[2, 1] = values[4, 3] = values[5, 3] = np.nan
    low, high = stats.intervals(values)
    for cell in range(values.shape[1]):
        column = values[np.isfinite(values[:, cell]), cell]
        oracle = scipy.stats.ttest_1samp(column, 0.0).confidence_interval(0.95)
        np.testing.assert_allclose((low[cell], high[cell]), oracle)


def test_intervals_that_hold_together_are_bonferronis() -> None:
    values = matrix(2)
    oracle = scipy.stats.t.interval(1 - 0.05 / 3, 6, values.mean(axis=0), scipy.stats.sem(values, axis=0))
    np.testing.assert_allclose(stats.intervals(values, comparisons=3), oracle)


def test_the_interval_of_a_mean_stays_where_a_mean_can_be() -> None:
    values = np.array([[0.1, 0.5], [0.9, 0.6]])
    low, high = stats.intervals(values, ends=(0.0, 1.0))
    free = stats.intervals(values)
    assert (low[0], high[0]) == (0.0, 1.0)
    assert free[0][0] < 0
    assert free[1][0] > 1
    np.testing.assert_allclose((low[1], high[1]), np.clip([free[0][1], free[1][1]], 0, 1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_intervals_move_and_stretch_with_the_values(seed: int, scale: float, shift: float) -> None:
    values = matrix(seed)
    np.testing.assert_allclose(
        stats.intervals(scale * values + shift), scale * np.array(stats.intervals(values)) + shift, atol=1e-9
    )


def test_intervals_depend_neither_on_the_order_of_seeds_nor_on_absent_runs() -> None:
    values = matrix(1)
    padded = np.full((9, 4), np.nan)
    padded[[8, 2, 0, 5, 1, 4, 7]] = values
    np.testing.assert_array_equal(stats.intervals(padded), stats.intervals(values))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_all_intersections(p: list[float]) -> None:
    numbers = range(len(p))
    subsets = [subset for size in range(1, len(p) + 1) for subset in combinations(numbers, size)]
    oracle = [
        max(min(1.0, len(subset) * min(p[j] for j in subset)) for subset in subsets if i in subset)
        for i in numbers
    ]
    np.testing.assert_allclose(stats.holm(np.array(p)), oracle)


def test_no_test_counts_for_none_in_holm() -> None:
    np.testing.assert_allclose(stats.holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])


def test_a_complete_block_drops_the_lines_with_most_missing_values() -> None:
    present = np.ones((3, 4), dtype=bool)
    rows, columns = stats.complete_block(present)
    assert (rows.all(), columns.all()) == (True, True)
    present[1, 2] = False
    rows, columns = stats.complete_block(present)
    assert (rows.all(), columns.tolist()) == (True, [True, True, False, True])
    present[1, :3] = False
    rows, columns = stats.complete_block(present)
    assert (rows.tolist(), columns.all()) == ([True, False, True], True)
    rows, columns = stats.complete_block(np.random.default_rng(0).random((9, 9)) > 0.3)
    assert rows.any()


def coverage(values: np.ndarray, mean: float) -> float:
    low, high = stats.intervals(values)
    return float(np.mean((low <= mean) & (high >= mean)))


def collapses(draw: np.random.Generator, runs: tuple[int, int]) -> np.ndarray:
    """Values around 1, of which one in five is around 0."""
    return (draw.random(runs) >= 0.2) + draw.normal(0, 0.05, runs)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
def test_intervals_have_the_coverage_of_the_page(n: int) -> None:
    draw, runs = np.random.default_rng(n), (n, 20_000)
    assert coverage(draw.normal(size=runs), 0.0) == pytest.approx(0.95, abs=0.008)
    skewed, collapsing = stats.COVERAGE[stats.simulated(n)]
    assert coverage(draw.exponential(size=runs), 1.0) == pytest.approx(skewed, abs=0.015)
    assert coverage(collapses(draw, runs), 0.8) == pytest.approx(collapsing, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 10, 15, 20, 50])
def test_intervals_have_the_coverage_of_the_page_to_the_digit(n: int) -> None:
    draw, runs = np.random.default_rng(n), (n, 200_000)
    assert coverage(draw.normal(2.0, 3.0, size=runs), 2.0) == pytest.approx(0.95, abs=0.002)
    skewed, collapsing = stats.COVERAGE[n]
    assert coverage(draw.exponential(size=runs), 1.0) == pytest.approx(skewed, abs=0.0075)
    assert coverage(draw.beta(8, 1, size=runs), 8 / 9) > skewed - 0.005  # skewness -1.4, as NMI near its end
    assert coverage(collapses(draw, runs), 0.8) == pytest.approx(collapsing, abs=0.0075)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_interquartile_mean_is_that_of_every_value_four_times(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    fourfold = np.sort(np.repeat(values, 4))  # its quarters are whole
    assert stats.summarize(values[:, None]).iqm[0] == pytest.approx(fourfold[n : 3 * n].mean())


def test_one_diverged_run_is_named_and_median_and_interquartile_mean_stay() -> None:
    values = np.random.default_rng(6).normal(-250.0, 0.5, size=(10, 3))
    clean = stats.summarize(values)
    values[4, 1] = -440.0
    values[7, 2] = np.nan
    summary = stats.summarize(values)
    assert np.argwhere(stats.outliers(values)).tolist() == [[4, 1]]
    assert summary.mean[1] < -268
    np.testing.assert_allclose([summary.median[1], summary.iqm[1]], clean.mean[1], atol=0.5)


@pytest.mark.parametrize(
    "column", [[1.0, 9.0], [1.0, 1.0, 1.0, 9.0], [1.0, 2.0, 3.0, 4.0], [np.nan] * 4, [2.0, 2.0, 2.0]]
)
def test_nothing_is_far_from_the_others_where_they_set_no_scale(column: list[float]) -> None:
    assert not stats.outliers(np.array(column)[:, None]).any()


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 50])
def test_one_in_a_hundred_normal_cells_has_an_outlier(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 40_000))
    assert stats.outliers(values).any(axis=0).mean() == pytest.approx(0.01, abs=0.002)
