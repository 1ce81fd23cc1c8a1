from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from studies import stats


def matrix(seed: int, seeds: int = 7, cells: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=(seeds, cells))


def test_a_run_that_is_not_there_changes_n_and_never_a_mean() -> None:
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
    values = np.sort(matrix(0), axis=0)
    low, high = stats.intervals(values)
    for cell in range(values.shape[1]):
        oracle = scipy.stats.bootstrap(
            (values[:, cell],),
            lambda sample, axis: np.round(sample.mean(axis=axis), 9),
            n_resamples=stats.RESAMPLES,
            method="BCa",
            rng=np.random.default_rng(stats.SEED),
        ).confidence_interval
        np.testing.assert_allclose((low[cell], high[cell]), oracle)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_intervals_move_and_stretch_with_the_values(seed: int, scale: float, shift: float) -> None:
    values = matrix(seed)
    np.testing.assert_allclose(
        stats.intervals(scale * values + shift), scale * np.array(stats.intervals(values)) + shift, atol=1e-7
    )


def test_intervals_depend_neither_on_the_order_of_seeds_nor_on_absent_runs() -> None:
    values = matrix(1)
    padded = np.full((9, 4), np.nan)
    padded[[8, 2, 0, 5, 1, 4, 7]] = values
    np.testing.assert_array_equal(stats.intervals(padded), stats.intervals(values))


def test_the_guarded_interval_holds_the_bootstrap_and_student_t() -> None:
    values = matrix(2)
    low, high = stats.guarded_intervals(values, comparisons=3)
    bootstrap = stats.intervals(values)
    student = scipy.stats.t.interval(1 - 0.05 / 3, 6, values.mean(axis=0), scipy.stats.sem(values, axis=0))
    np.testing.assert_allclose(low, np.minimum(bootstrap[0], student[0]))
    np.testing.assert_allclose(high, np.maximum(bootstrap[1], student[1]))


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


def test_a_whole_block_lacks_nothing_and_gives_up_what_lacks_most() -> None:
    present = np.ones((3, 4), dtype=bool)
    rows, columns = stats.whole_block(present)
    assert (rows.all(), columns.all()) == (True, True)
    present[1, 2] = False
    rows, columns = stats.whole_block(present)
    assert (rows.all(), columns.tolist()) == (True, [True, True, False, True])
    present[1, :3] = False
    rows, columns = stats.whole_block(present)
    assert (rows.tolist(), columns.all()) == ([True, False, True], True)
    rows, columns = stats.whole_block(np.random.default_rng(0).random((9, 9)) > 0.3)
    assert rows.any()


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 10, 20, 50])
def test_intervals_cover_as_often_as_the_page_says(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 4000))
    low, high = stats.intervals(values)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(stats.COVERAGE[n], abs=0.02)
    low, high = stats.guarded_intervals(values)
    assert np.mean((low <= 0) & (high >= 0)) > 0.94


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_guarded_intervals_bear_skew(n: int) -> None:
    draw = np.random.default_rng(n)
    for values, mean in ((draw.exponential(size=(n, 4000)), 1.0), (draw.beta(8, 1, size=(n, 4000)), 8 / 9)):
        low, high = stats.guarded_intervals(values)
        assert np.mean((low <= mean) & (high >= mean)) > 0.87
