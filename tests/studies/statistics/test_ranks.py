"""Ranks against pairwise counting, and critical differences against the table of Demšar (2006)."""

import numpy as np
import pytest
import scipy.stats

from studies.statistics import ranks

MEANS = np.random.default_rng(0).random((14, 4)).round(1)
CRITICAL = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
"""Critical values of Nemenyi's test at 0.05 by the number of cells: table 5 of the paper."""


def test_a_rank_counts_the_better_cells_and_half_of_the_ties():
    found = ranks.rank(MEANS)
    better = (MEANS[:, None, :] > MEANS[:, :, None]).sum(2)
    ties = (MEANS[:, None, :] == MEANS[:, :, None]).sum(2) - 1
    np.testing.assert_array_equal(found.by_data, 1 + better + ties / 2)
    np.testing.assert_array_equal(ranks.rank(MEANS, -1).by_data, 5 - found.by_data)
    np.testing.assert_allclose(found.mean, found.by_data.mean(0))


@pytest.mark.parametrize(("cells", "critical"), CRITICAL.items())
def test_the_critical_difference_is_that_of_the_table(cells, critical):
    found = ranks.rank(np.random.default_rng(1).random((9, cells)))
    assert found.distance == pytest.approx(critical * np.sqrt(cells * (cells + 1) / (6 * 9)), rel=1e-3)


def test_equal_ranks_are_tested_by_friedman():
    assert ranks.rank(MEANS).p == scipy.stats.friedmanchisquare(*MEANS.T).pvalue


def test_few_data_sets_are_not_tested():
    found = ranks.rank(MEANS[: ranks.MIN_DATA_SETS - 1])
    assert np.isnan(found.p)
    assert np.isnan(found.distance)
