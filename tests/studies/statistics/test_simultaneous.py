"""Adjusted p-values against loops that count every rearrangement, and against SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from null_studies import draw, most

from studies.statistics import anova, paired, permutations, simultaneous


def numbers(n: int, cells: int, seed: int = 0) -> np.ndarray:
    """Numbers with an effect of the seed, one outlying cell, and ties."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 1)) + rng.normal(size=(n, cells))
    values[:, -1] += 2
    return np.round(values, 1)


def rearranged(*families: np.ndarray):
    """Every rearrangement of the cells within the seeds, the same in all families."""
    n, cells = families[0].shape
    for orders in itertools.product(itertools.permutations(range(cells)), repeat=n):
        yield [
            np.array([row[list(order)] for row, order in zip(each, orders, strict=True)]) for each in families
        ]


def t(first: np.ndarray, second: np.ndarray, values: np.ndarray) -> float:
    """The difference of two columns over its standard error, the larger of its own and the pooled one."""
    n, cells = values.shape
    rest = values - values.mean(axis=1)[:, None] - values.mean(axis=0) + values.mean()
    pooled = 2 * (rest**2).sum() / ((n - 1) * (cells - 1))
    difference = first - second
    if abs(difference.mean()) < 1e-9:
        return 0.0
    return float(difference.mean() / np.sqrt(max(difference.var(ddof=1), pooled) / n))


def behind(values: np.ndarray) -> list[float]:
    best = int(values.mean(axis=0).argmax())
    return [
        t(values[:, best], column, values) if cell != best else np.nan for cell, column in enumerate(values.T)
    ]


def apart(values: np.ndarray, reference: int) -> list[float]:
    return [
        abs(t(column, values[:, reference], values)) if level != reference else np.nan
        for level, column in enumerate(values.T)
    ]


def by_counting(*families: np.ndarray) -> list[np.ndarray]:
    """The p-values of all cells against the best, adjusted over families."""
    largest = np.array([max(np.nanmax(behind(each)) for each in some) for some in rearranged(*families)])
    return [
        np.array([np.nan if s != s else (largest >= s - 1e-9).mean() for s in behind(each)])
        for each in families
    ]


def test_the_best_is_chosen_again_in_every_rearrangement() -> None:
    families = [numbers(3, 3), numbers(3, 3, seed=1) * 100]
    for found, each, expected in zip(
        simultaneous.below_best(families), families, by_counting(*families), strict=True
    ):
        top = np.argsort(-each.mean(axis=0))[:2]
        (alone,) = by_counting(each[:, top])
        expected[top] = np.fmax(expected[top], np.minimum(1, 2 * alone))
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("kind", ["collapsing", "wide"])
def test_clearly_worse_cells_do_not_make_tied_ones_significant(kind) -> None:
    rng, trials, tied = np.random.default_rng(11), 60, slice(0, 6)
    false = 0
    for _ in range(trials):
        values = -9 + 0.002 * rng.normal(size=(3, 12))
        values[:, tied] = draw("collapsing", rng, (3, 6)) if kind == "collapsing" else rng.normal(size=(3, 6))
        (p,) = simultaneous.below_best([values])
        false += bool((p[tied] <= 0.05).any())
        assert np.isfinite(p).sum() == 11
    assert false <= most(trials)


def test_levels_share_the_error_of_an_axis_with_all_measures() -> None:
    families, references = [numbers(3, 3, seed=2), numbers(3, 3, seed=3) / 100], [0, 0]
    largest = np.array([max(np.nanmax(apart(each, 0)) for each in some) for some in rearranged(*families)])
    for found, each in zip(simultaneous.from_reference(families, references), families, strict=True):
        expected = [np.nan if s != s else (largest >= s - 1e-9).mean() for s in apart(each, 0)]
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_two_levels_are_compared_by_the_exact_sign_flip_test(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 2))
    (found,) = simultaneous.from_reference([values], [0])
    assert found[1] == pytest.approx(paired.sign_flip(values[:, 1:] - values[:, :1])[0])
    (beside,) = simultaneous.below_best([values])
    assert np.nanmin(beside) == pytest.approx(found[1])


def test_many_levels_of_normal_numbers_come_close_to_dunnett() -> None:
    values = np.random.default_rng(5).normal(size=(200, 4))
    values[:, 1] += 0.22
    (found,) = simultaneous.from_reference([values], [0])
    oracle = scipy.stats.dunnett(*values.T[1:], control=values[:, 0], rng=np.random.default_rng(0)).pvalue
    np.testing.assert_allclose(found[1:], oracle, atol=0.06)


def test_an_interaction_needs_both_the_rearrangements_and_the_f_test() -> None:
    values = numbers(2, 4, seed=4) + np.array([0, 0, 0, 3])
    of = lambda each: next(  # noqa: E731
        e.p for e in anova.analyze(each.T.reshape(2, 2, 2)).effects if e.axes == (0, 1)
    )
    by_f = of(values)
    moved = []
    for (some,) in rearranged(values):
        found = anova.analyze(some.T.reshape(2, 2, 2))
        moved.append(1.0 if found is None else next(e.p for e in found.effects if len(e.axes) == 2))
    expected = max(by_f, np.mean(np.array(moved) <= by_f * (1 + 1e-9)))
    ((found,),) = simultaneous.interactions([values], (2, 2))
    assert found == pytest.approx(expected, rel=1e-6)


def test_each_pair_of_axes_has_the_p_of_the_analysis_of_variance_times_their_number() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(4, 12)) + np.repeat([0.0, 0.0, 1.0, 4.0], 3)
    (found,) = simultaneous.interactions([values], (2, 2, 3))
    effects = anova.analyze(values.T.reshape(2, 2, 3, 4)).effects
    bonferroni = [min(1.0, 3 * effect.p) for effect in effects if len(effect.axes) == 2]
    assert (found >= np.array(bonferroni) - 1e-9).all()
    assert (simultaneous.interactions([values], (12,))[0]).size == 0


@pytest.mark.parametrize("n", [4, 8])
def test_one_column_is_above_zero_by_the_exact_sign_flip_test(n: int) -> None:
    values = np.random.default_rng(n).normal(0.5, 1, size=(n, 1))
    ((found,),) = simultaneous.positive([values])
    oracle = scipy.stats.permutation_test(
        (values[:, 0],), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    ).pvalue
    assert found == pytest.approx(oracle)


def test_columns_of_all_matrices_share_one_error() -> None:
    first, second = numbers(5, 2, seed=8), numbers(5, 3, seed=9)
    values = np.hstack([first, second])
    size = values.mean(axis=0) / np.sqrt((values**2).mean(axis=0))
    largest = np.array(
        [
            max((np.array(signs) @ values) / 5 / np.sqrt((values**2).mean(axis=0)))
            for signs in itertools.product((1, -1), repeat=5)
        ]
    )
    found = simultaneous.positive([first, second])
    assert [len(each) for each in found] == [2, 3]
    np.testing.assert_allclose(np.concatenate(found), [(largest >= s - 1e-9).mean() for s in size])


def test_a_seed_without_numbers_changes_nothing() -> None:
    values = numbers(3, 3)
    longer = np.vstack([values[:1], np.full((1, 3), np.nan), values[1:]])
    for test in (simultaneous.below_best, lambda each: simultaneous.from_reference(each, [0])):
        np.testing.assert_allclose(test([values])[0], test([longer])[0])
    found = simultaneous.positive([longer])[0]
    np.testing.assert_allclose(found, simultaneous.positive([values])[0], atol=1e-12)


def test_measures_of_other_cells_share_the_error_by_bonferroni() -> None:
    whole, part = numbers(3, 3), numbers(3, 3, seed=1)
    part[:, 0] = np.nan
    (alone,) = simultaneous.below_best([whole])
    both = simultaneous.below_best([whole, part])
    np.testing.assert_allclose(both[0], np.minimum(1, 2 * alone))
    assert np.isnan(both[1][0])


def test_no_test_has_no_p() -> None:
    assert np.isnan(simultaneous.below_best([numbers(1, 3)])[0]).all()
    assert np.isnan(simultaneous.positive([numbers(1, 3)])[0]).all()
    assert np.isnan(simultaneous.interactions([numbers(1, 4)], (2, 2))[0]).all()
    assert simultaneous.below_best([]) == [] == simultaneous.positive([])


def test_cells_that_all_agree_do_not_differ() -> None:
    same = np.full((4, 3), 0.1) + np.arange(4)[:, None] / 3
    assert np.nanmin(simultaneous.below_best([same])[0]) == 1
    assert np.nanmin(simultaneous.from_reference([same], [0])[0]) == 1


def test_small_chunks_count_the_same(monkeypatch) -> None:
    families = [numbers(3, 3), numbers(3, 3, seed=1)]
    before = simultaneous.below_best(families), simultaneous.positive(families)
    monkeypatch.setattr(permutations, "CHUNK", 100)
    after = simultaneous.below_best(families), simultaneous.positive(families)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other))


def test_drawn_rearrangements_come_close_to_all_of_them(monkeypatch) -> None:
    families = [numbers(3, 3), numbers(3, 3, seed=1)]
    exact = np.array(simultaneous.below_best(families))
    monkeypatch.setattr(permutations, "MAX_PERMUTATIONS", 200)
    np.testing.assert_allclose(np.array(simultaneous.below_best(families)), exact, atol=0.1)
