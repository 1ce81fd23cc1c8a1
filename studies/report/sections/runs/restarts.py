"""Section: best of n restarts, selected without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from studies.analysis import cell_stats, criteria, metrics
from studies.analysis.analyze import Analysis
from studies.analysis.metrics import Measure
from studies.analysis.restarts import GROUPS, MAX_RESTARTS, select_best
from studies.analysis.runs import StudyRun
from studies.report import markdown, tables
from studies.report.page import Page
from studies.statistics import stats

HEADING = "Best of n restarts, selected without labels"


def best_of_restarts(analysis: Analysis, page: Page) -> None:
    """Add the results of the reference cell if the best of several runs is selected."""
    study, cell = analysis.study, analysis.study.reference or 0
    runs = study.of_cell(cell)
    sizes = [size for size in range(1, MAX_RESTARTS + 1) if len(runs) >= GROUPS * size]
    alive = [run for run in runs if run.complete]
    first = criteria.ranking_criterion(alive)
    if not alive or len(sizes) < 2:
        return
    if first is None:
        page.head(HEADING)
        page.add(criteria.REFUSAL)
        return
    criteria_used = [first, *([criteria.GATE] if all(map(criteria.GATE.has, alive)) else [])]
    page.head(HEADING)
    page.add(
        f"The runs of cell {cell_stats.label(study, cell)} form disjoint groups of consecutive seeds. From "
        "each group one run is selected without labels and without the test split: the run with "
        f"{', or with '.join(criterion.words for criterion in criteria_used)}. n counts groups. "
        "Incomplete groups are not used."
    )
    shown = cell_stats.measured(
        study, (metrics.NMI, metrics.ARI, metrics.ACC, cell_stats.compared_bound(study))
    )
    rows = [_row("1 run, no selection", select_best(runs, 1, first.score), shown)]
    rows += [
        _row(f"{size} runs, by {criterion.label}", select_best(runs, size, criterion.score), shown)
        for criterion in criteria_used
        for size in sizes[1:]
    ]
    page.add(markdown.table(rows))


def _row(name: str, runs: Sequence[StudyRun], shown: Sequence[Measure]) -> dict[str, str]:
    row = {"best of": name, "n": str(len(runs))}
    for measure in shown:
        values = np.array([[run.metrics.get(measure.key, np.nan)] for run in runs])  # [groups, 1]
        parts = (stats.means(values), stats.deviations(values), *stats.intervals(values, ends=measure.ends))
        row[measure.heading] = tables.spread(measure, *(float(part[0]) for part in parts))
        row[f"lowest {measure.label}"] = measure.show(float(np.nanmin(values)))
    return row
