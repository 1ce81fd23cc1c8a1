"""Section: performance profiles of the cells."""

from __future__ import annotations

import numpy as np

from studies.analysis import cell_stats, metrics
from studies.analysis.analyze import Analysis
from studies.report import plots
from studies.report.page import Page
from studies.statistics import stats

MAX_COLORED = 8
"""Largest number of cells and baselines that have colors of their own."""
MIN_RUNS = 3
"""Smallest number of runs of a cell for which a share of runs means something."""


def performance_profiles(analysis: Analysis, page: Page) -> None:
    """Add the share of runs of each cell that reach each score."""
    study = analysis.study
    scores = cell_stats.measured(study, (metrics.NMI, metrics.ACC)) or cell_stats.measured(
        study, (cell_stats.compared_bound(study),)
    )
    if not scores:
        return
    values = {
        score: np.hstack([study.comparable(score), study.baseline_matrix(score.key)]) for score in scores
    }  # [seeds, cells and baselines] each
    first = values[scores[0]]
    if stats.counts(first).max(initial=0) < MIN_RUNS:
        return
    names = [f"cell {cell_stats.label(study, cell)}" for cell in range(len(study.cells))]
    names += [baseline.name for baseline in study.baselines]
    mean = np.nan_to_num(stats.means(first), nan=-np.inf)
    best = [int(column) for column in np.argsort(-mean, kind="stable")[:MAX_COLORED]]
    colored = f"the {len(best)} with the highest mean {scores[0].label}"
    if study.reference is not None and study.reference not in best:
        best = [*best[:-1], study.reference]
        colored = f"the {len(best) - 1} with the highest mean {scores[0].label}, and the reference cell"
    shown = [name if column in best else "" for column, name in enumerate(names)]
    page.head("Performance profiles")
    page.add(
        "The share of runs that reach each score (Dolan & Moré 2002). A mean hides whether all runs are "
        "mediocre or some collapse; here, runs that collapse are a step at a low score."
    )
    labels = " and ".join(score.label for score in scores)
    page.show(
        "profiles",
        {
            f"Share of runs that reach each {labels}, by cell": plots.profiles(
                {
                    score.heading: [column[np.isfinite(column)] for column in matrix.T]
                    for score, matrix in values.items()
                },
                shown,
                [column >= len(study.cells) for column in range(len(names))],
                "cells and baselines (dashed)" if study.baselines else "cells",
            )
        },
        (
            "For each score on the horizontal axis, the share of the n runs of a cell with at least that "
            "score on the test split. A line further to the right is better. There is no band."
            + (f" Colored: {colored}." if len(best) < len(names) else "")
        ),
    )
