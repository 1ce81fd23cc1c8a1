"""Section: the Pareto front."""

from __future__ import annotations

import numpy as np

from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.report import plots, tables
from studies.report.page import Page
from studies.report.sections.cells.results import SHOWN_ROWS
from studies.statistics import stats
from studies.utils import formatting


def pareto_front(analysis: Analysis, page: Page) -> None:
    """Add the Pareto front of the compared measures."""
    study, measures = analysis.study, analysis.compared
    if len(measures) < 2 or not analysis.front.any() or len(study.cells) < 3:
        return
    page.head("Trade-offs")
    names = [cell_stats.label(study, cell) for cell in range(len(study.cells))]
    points = []
    for measure in measures:
        values = study.comparable(measure)
        points.append((stats.means(values), *stats.intervals(values, ends=measure.ends)))
    labels = [measure.label for measure in measures]
    page.add(
        f"The Pareto front of {' and '.join(labels)} (orange) has "
        f"{formatting.count(int(analysis.front.sum()), 'cell')}. A cell is not on the front if another cell "
        "has a mean at least as high on every measure and a 95 % interval entirely above on at least one."
    )
    words = f"{labels[0]} against {' and '.join(labels[1:])}, one point per cell"
    page.show(
        "trade",
        {words: plots.pareto(points, measures, names, analysis.front)},
        "One point per cell, with its number if it is on the front (orange squares). Bars: 95 % intervals of "
        "the means over seeds (Student's t).",
    )
    rows = [
        {"cell": f"{names[cell]} ({tables.describe(study, int(cell))})"}
        | {
            measure.heading: measure.show(point[0][cell])
            for measure, point in zip(measures, points, strict=True)
        }
        for cell in np.flatnonzero(analysis.front)
    ]
    page.rows(rows, SHOWN_ROWS, "[table.csv](table.csv)")
