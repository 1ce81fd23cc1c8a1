"""Section: outliers."""

from __future__ import annotations

import numpy as np

from studies.analysis.analyze import Analysis
from studies.report.page import Page
from studies.statistics import stats

SHOWN_ROWS = 10
"""Number of table rows that are not collapsed."""


def outliers(analysis: Analysis, page: Page) -> None:
    """Add the outliers of the main table, with median and interquartile mean of their cells."""
    study = analysis.study
    rows = []
    for measure in (measure for measure in analysis.leading if measure.spread):
        values = np.hstack([study.matrix(measure.key), study.baseline_matrix(measure.key)])
        far = stats.outliers(values)
        summary = stats.summarize(values)
        others = stats.means(np.where(far, np.nan, values))
        for place in np.flatnonzero(far.any(axis=0)):
            found = np.flatnonzero(far[:, place])
            shown = [f"{measure.show(values[seed, place])} (seed {study.seeds[seed]})" for seed in found]
            rows.append(
                {
                    "cell": str(analysis.table["cell"][place]),
                    "measure": measure.heading,
                    "outliers": ", ".join(shown),
                    "n": str(summary.n[place]),
                    "mean": measure.show(summary.mean[place]),
                    "mean of the others": measure.show(others[place]),
                    "median": measure.show(summary.median[place]),
                    "IQM": measure.show(summary.iqm[place]),
                }
            )
    if not rows:
        return
    page.head("Outliers")
    page.add(
        "An outlier is a run whose modified z-score is too large: 0.6745 times its distance from the median "
        "of the cell, divided by the median absolute deviation (Iglewicz and Hoaglin, 1993). In cells of n "
        "normal runs, 1 % have an outlier by this threshold. The sign † marks cells with outliers. Only the "
        "column *mean of the others* excludes them. The median and the interquartile mean (IQM, Agarwal et "
        "al., 2021) are robust to outliers; the mean, its interval and its standard deviation are not."
    )
    page.rows(rows, SHOWN_ROWS, file="outliers")
