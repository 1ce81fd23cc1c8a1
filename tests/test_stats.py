from __future__ import annotations

import numpy as np
import pandas as pd

from studies import stats


def test_a_run_that_is_not_there_changes_n_and_never_a_mean() -> None:
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [8.0, 4.0, np.nan]])
    summary = stats.summarize(values)
    oracle = pd.DataFrame(values)
    assert summary.n.tolist() == [3, 2, 0]
    np.testing.assert_allclose(summary.mean, oracle.mean())
    np.testing.assert_allclose(summary.std, oracle.std(ddof=1))


def test_one_run_has_no_spread() -> None:
    summary = stats.summarize(np.array([[0.5, 0.7]]))
    assert summary.mean.tolist() == [0.5, 0.7]
    assert np.isnan(summary.std).all()
