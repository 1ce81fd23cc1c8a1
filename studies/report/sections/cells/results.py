"""Section: table of results."""

from __future__ import annotations

from typing import Any

import numpy as np

from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.analysis.study import Study
from studies.report import tables
from studies.report.page import FOLDED, Page

SHOWN_ROWS = 40
"""Number of table rows that are not collapsed."""


def results(analysis: Analysis, page: Page) -> None:
    """Add the table of results, ordered by the first measure."""
    study = analysis.study
    rows = tables.result_rows(study, analysis.table, analysis.leading, most=SHOWN_ROWS + FOLDED)
    page.head("Results")
    first = analysis.leading[0].label if analysis.leading else "cell number"
    page.add(
        f"One row per cell, ordered by {first}: mean ± standard deviation [95 % interval of the mean] over n "
        "seeds."
    )
    page.rows(rows, SHOWN_ROWS, "[table.csv](table.csv)", total=len(analysis.table))
    _comparisons(analysis, page)
    for cells in _identical_cells(study):
        *most, last = (cell_stats.label(study, cell) for cell in cells)
        page.add(
            f"Cells {', '.join(most)} and {last} have the same test metrics for every seed, in every digit: "
            "the settings in which they differ change no test metric."
        )


def _comparisons(analysis: Analysis, page: Page) -> None:
    """Add a CSV file that compares each cell with the cell of highest mean and with the reference cell."""
    if analysis.contrasts or any(np.isfinite(row).any() for row in analysis.below_best.values()):
        link = page.keep("comparisons", tables.comparison_table(analysis))
        page.add(
            f"{link} compares each cell with the reference cell, and with the cell of highest mean (column "
            "`p_below_best`, adjusted over cells and measures)."
        )


def _identical_cells(study: Study) -> list[list[int]]:
    """Return groups of cells whose runs have the same test metrics, seed by seed."""
    groups: dict[Any, list[int]] = {}
    for cell in range(len(study.cells)):
        complete = [run for run in study.of_cell(cell) if run.complete]
        scores = tuple((run.seed, tuple(sorted(run.record.metrics["test"].items()))) for run in complete)
        if scores:
            groups.setdefault(scores, []).append(cell)
    return [cells for cells in groups.values() if len(cells) > 1]
