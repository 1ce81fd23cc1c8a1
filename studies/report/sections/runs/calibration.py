"""Section: calibration of the gate."""

from __future__ import annotations

import numpy as np

from studies.analysis import cell_stats, metrics
from studies.analysis.analyze import Analysis
from studies.report import run_plots, tables
from studies.report.page import FOLDED, Page

SHOWN_ROWS = 10
"""Number of table rows that are not collapsed."""


def calibration(analysis: Analysis, page: Page) -> None:
    """Add calibration metrics by cell and the reliability diagram of the reference cell."""
    study, cell = analysis.study, analysis.study.reference or 0
    bins = [run.record.reliability for run in study.of_cell(cell) if run.record.reliability is not None]
    bins = [each for each in bins if len(each.images) == len(bins[0].images)]
    if not bins:
        return
    images = np.array([each.images for each in bins])  # [runs, bins]
    total = np.maximum(images.sum(0), 1)
    confidence, accuracy = (
        (images * np.array([getattr(each, name) for each in bins])).sum(0) / total
        for name in ("confidence", "accuracy")
    )
    page.head("Calibration of the gate")
    page.add(
        "The gate is scored as a classifier, although it was trained without labels. One half of the test "
        "images matches experts with classes (Hungarian; an unmatched expert takes the class that receives "
        "most of its probability). The other half is scored. ECE is the mean absolute difference between "
        f"confidence and accuracy over {len(total)} bins of confidence (0 means calibrated). Brier is the "
        "mean squared distance to the true class (0 to 2). A method that only assigns clusters has "
        "confidence 1."
    )
    chosen = cell_stats.measured(study, (metrics.ACC, metrics.ECE, metrics.BRIER))
    rows = tables.result_rows(study, analysis.table, chosen, most=SHOWN_ROWS + FOLDED)
    page.rows(rows, SHOWN_ROWS, "[table.csv](table.csv)", total=len(analysis.table))
    words = (
        f"Accuracy by confidence, pooled over all {len(bins)} runs of cell {cell_stats.label(study, cell)}"
    )
    page.show(
        "reliability",
        {words: run_plots.reliability(images.sum(0), confidence, accuracy)},
        "One point per bin of confidence; its area grows with the number of images. Below the diagonal, the "
        "gate is too confident. There is no band.",
    )
