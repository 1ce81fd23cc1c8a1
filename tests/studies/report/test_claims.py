"""A/A studies: all cells have the same distribution, so any claim of a difference is false; 5 % may be.

Each study gives one chance to each kind of sentence: the best cell, each axis, interactions, selection. A
kind fails where more studies have such a sentence than a true rate of 5 % would give with probability 0.99
(0.999 in the long form, which counts many settings).
"""

from __future__ import annotations

from collections import Counter

import null_studies
import numpy as np
import pytest

from studies.analysis.analyze import analyze
from studies.analysis.study import Study
from studies.report import summary
from studies.statistics import paired, permutations, stats


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leave out the numbers that no sentence rests on; p-values of fewer rearrangements are as exact."""
    monkeypatch.setattr(permutations, "MAX_PERMUTATIONS", 499)
    nothing = lambda values, *args, **kwargs: np.full((2, values.shape[1]), np.nan)  # noqa: E731
    monkeypatch.setattr(stats, "intervals", nothing, raising=False)
    monkeypatch.setattr(paired, "sign_flip", lambda values: np.full(values.shape[1], np.nan))


def sentences_of(study: Study) -> list[str]:
    return summary.sentences(analyze(study))


def errors(kind: str, cells: int, n: int, trials: int) -> Counter[str]:
    rng = np.random.default_rng([cells, n, null_studies.KINDS.index(kind), 7])
    return Counter(
        claim
        for _ in range(trials)
        for claim in null_studies.false(sentences_of(null_studies.study(kind, rng, cells, n)))
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("kind", "cells", "n"),
    [("normal", 4, 3), ("skewed", 8, 3), ("collapsing", 4, 3), ("collapsing", 2, 10)],
)
def test_identical_cells_rarely_differ_significantly(kind: str, cells: int, n: int) -> None:
    found = errors(kind, cells, n, trials=20)
    assert all(count <= null_studies.most(20) for count in found.values()), found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n", null_studies.SIZES)
@pytest.mark.parametrize("cells", null_studies.GRIDS)
@pytest.mark.parametrize("kind", null_studies.KINDS)
def test_identical_cells_are_reported_to_differ_in_at_most_one_study_of_twenty(
    kind: str, cells: int, n: int
) -> None:
    found = errors(kind, cells, n, trials=200)
    allowed = null_studies.most(
        200, error_rate=0.001
    )  # of some 140 such counts, none fails by chance in 9 cases of 10
    assert all(count <= allowed for count in found.values()), found


@pytest.mark.usefixtures("quick")
def test_a_cell_that_is_an_outlier_is_reported() -> None:
    rng = np.random.default_rng(0)
    found = [
        null_studies.false(sentences_of(null_studies.study("normal", rng, 8, 5, shift=8.0))) for _ in range(5)
    ]
    assert all("best" in each for each in found)


def test_two_cells_with_three_seeds_never_differ_significantly() -> None:
    rng = np.random.default_rng(0)
    found_sentences = sentences_of(null_studies.study("normal", rng, 2, 3, shift=1e6))
    assert not null_studies.false(found_sentences)
    assert any("do not differ significantly" in each for each in found_sentences)
