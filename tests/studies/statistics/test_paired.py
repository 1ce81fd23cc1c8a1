from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats

from studies.statistics import paired, stats


def brute_force(differences: np.ndarray) -> float:
    """Share of all sign patterns whose mean is at least as far from 0 as the observed one."""
    observed = abs(differences.mean())
    means = [abs(np.mean(differences * signs)) for signs in product((1, -1), repeat=len(differences))]
    return float(np.mean(np.array(means) >= observed - 1e-12))


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_sign_flip_test_counts_all_patterns(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, size=(n, 3))
    np.testing.assert_allclose(
        paired.sign_flip(differences), [brute_force(column) for column in differences.T], atol=1e-12
    )


def test_differences_without_a_mean_have_p_one() -> None:
    differences = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(paired.sign_flip(differences), 1.0)


def test_many_pairs_are_drawn_and_come_near_the_exact_value(monkeypatch) -> None:
    differences = np.random.default_rng(3).normal(0.4, size=(12, 4))
    exact = paired.sign_flip(differences)
    monkeypatch.setattr(paired, "MAX_EXACT_PAIRS", 5)
    np.testing.assert_allclose(paired.sign_flip(differences), exact, atol=0.02)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_no_p_value_falls_below_the_smallest(n: int) -> None:
    same_sign = np.linspace(1.0, 2.0, n)[:, None]
    assert paired.sign_flip(same_sign)[0] == pytest.approx(paired.smallest_p(n))


def test_only_shared_seeds_are_compared() -> None:
    values = np.array([[1.0, 2.0], [2.0, np.nan], [np.nan, 9.0], [4.0, 7.0]])
    comparison = paired.compare(values, 0)
    assert comparison.n.tolist() == [0, 2]
    assert comparison.difference[1] == np.mean([1.0, 3.0])
    assert np.isnan(comparison.difference[0])


def test_one_pair_has_a_difference_without_interval_and_p() -> None:
    comparison = paired.compare(np.array([[1.0, 3.0]]), 0)
    assert comparison.difference[1] == 2.0
    for estimates in (
        comparison.p,
        comparison.holm,
        comparison.low,
        comparison.effect,
        comparison.detectable,
    ):
        assert np.isnan(estimates[1])


def test_the_chance_of_improvement_is_mann_whitneys() -> None:
    values = np.random.default_rng(4).integers(0, 4, size=(9, 3)).astype(float)
    comparison = paired.compare(values, 0)
    for cell in (1, 2):
        u = scipy.stats.mannwhitneyu(values[:, cell], values[:, 0]).statistic
        assert comparison.improvement[cell] == pytest.approx(u / 81)
    lower = paired.compare(values, 0, better=-1)
    np.testing.assert_allclose(lower.improvement[1:], 1 - comparison.improvement[1:])


def test_the_effect_is_in_units_of_the_runs_spread_and_shrunk_for_few_runs() -> None:
    values = np.random.default_rng(5).normal(size=(6, 2)) + np.array([0.0, 1.5])
    spread = np.sqrt(values.var(axis=0, ddof=1).mean())
    approximate = (1 - 3 / (4 * 10 - 1)) * np.diff(values.mean(axis=0))[0] / spread
    assert paired.compare(values, 0).effect[1] == pytest.approx(approximate, rel=2e-3)


def power(n: int, tests: int, shift: float, studies: int, seed: int) -> float:
    """Share of studies of `tests` comparisons, one of them shifted, in which Holm's p shows that one."""
    differences = np.random.default_rng(seed).normal(size=(n, studies, tests))
    differences[..., 0] += shift
    p = paired.sign_flip(differences.reshape(n, -1)).reshape(studies, tests)
    return float(np.mean([stats.holm(row)[0] <= 0.05 for row in p]))


@pytest.mark.parametrize(("n", "tests"), [(6, 1), (7, 3), (8, 1), (8, 5)])
def test_the_detectable_effect_is_shown_four_times_in_five(n: int, tests: int) -> None:
    found = power(n, tests, paired.minimum_detectable_effect(n, tests), 2000, seed=n)
    assert found == pytest.approx(0.8, abs=0.03)  # three standard errors, of both simulations


@pytest.mark.slow
@pytest.mark.parametrize(("n", "tests"), [(6, 1), (8, 5), (10, 1), (10, 12), (20, 4)])
def test_the_detectable_effect_is_shown_four_times_in_five_to_the_digit(n: int, tests: int) -> None:
    shift = paired.minimum_detectable_effect(n, tests)
    found = [power(n, tests, shift, 500, seed) for seed in range(20 if n <= paired.MAX_EXACT_PAIRS else 4)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.022)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 10, 20])
@pytest.mark.parametrize("tests", [1, 2, 8, 30, 600])
def test_nothing_is_detectable_where_no_p_can_be_small_enough(n: int, tests: int) -> None:
    certain = paired.sign_flip(np.linspace(1.0, 1.001, n)[:, None])[0]  # all signs agree: the smallest p
    possible = certain * tests <= 0.05
    assert np.isfinite(paired.minimum_detectable_effect(n, tests)) == possible


def test_detectable_effects_use_the_correction_of_the_page() -> None:
    values = np.random.default_rng(8).normal(size=(8, 4))
    values[7, 3] = np.nan
    values[:, 2] = values[:, 0] + 1.0  # no spread at all
    comparison = paired.compare(values, 0)
    spread = np.std(values[:, 1] - values[:, 0], ddof=1)
    assert comparison.detectable[1] == pytest.approx(paired.minimum_detectable_effect(8, tests=3) * spread)
    assert comparison.detectable[2] == pytest.approx(0.0)
    assert np.isfinite(comparison.detectable[3])
    assert np.isnan(comparison.detectable[0])
    few = paired.compare(values[:6], 0)  # 3 tests of p >= 1/32
    assert np.isinf(few.detectable[1:]).all()


def test_more_pairs_detect_smaller_effects_and_more_tests_only_larger() -> None:
    by_n = [paired.minimum_detectable_effect(n) for n in (6, 7, 8, 9, 10, 11)]
    by_tests = [paired.minimum_detectable_effect(10, tests) for tests in (1, 2, 5, 12, 25)]
    assert by_n == sorted(by_n, reverse=True)
    assert by_tests == sorted(by_tests)


def test_fewer_than_two_pairs_detect_nothing() -> None:
    assert np.isnan(paired.minimum_detectable_effect(1))
