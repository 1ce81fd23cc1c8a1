"""Section: the Pareto front."""

from __future__ import annotations

import numpy as np

from studies.analysis import cell_stats, stats
from studies.analysis.analyze import Analysis
from studies.report import plots, tables
from studies.report.page import Page
from studies.report.sections.results import LONG


def trades(analysis: Analysis, page: Page) -> None:
    """What cannot be had together: the Pareto front."""
    study, traded = analysis.study, analysis.traded
    if len(traded) < 2 or not analysis.front.any() or len(study.cells) < 3:
        return
    page.head("Trade-offs")
    names = [cell_stats.label(study, cell) for cell in range(len(study.cells))]
    points = []
    for measure in traded:
        values = study.comparable(measure)
        points.append((stats.means(values), *stats.intervals(values, ends=measure.ends)))
    labels = [measure.label for measure in traded]
    page.add(
        f"Orange: the {int(analysis.front.sum())} cells that no other surely beats on {', '.join(labels)} "
        "together. A cell is off the front where another's mean is at least as high on all of them and its "
        "95 % interval lies wholly above on one."
    )
    page.show(
        "trade",
        plots.trade(points, traded, names, analysis.front),
        f"{labels[0]} against {' and '.join(labels[1:])}, a point a cell",
    )
    rows = [
        {"cell": f"{names[cell]} ({tables.describe(study, int(cell))})"}
        | {
            measure.heading: measure.show(point[0][cell])
            for measure, point in zip(traded, points, strict=True)
        }
        for cell in np.flatnonzero(analysis.front)
    ]
    page.rows(rows, LONG, "[table.csv](table.csv)")
