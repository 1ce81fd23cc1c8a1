"""The page's sections about what the experts know: how far their gate can be believed, who shares what."""

from __future__ import annotations

import numpy as np

from studies import measures, pictures, tables
from studies.analysis import Analysis
from studies.page import Page


def calibration(analysis: Analysis, page: Page) -> None:
    """Whether the baseline cell's gate is as often right as it is sure."""
    study, cell = analysis.study, analysis.study.baseline or 0
    bins = [run.record.reliability for run in study.of_cell(cell) if run.record.reliability is not None]
    if not bins:
        return
    images = np.array([each.images for each in bins])  # [runs, bins]
    total = np.maximum(images.sum(0), 1)
    confidence, accuracy = (
        (images * np.array([getattr(each, name) for each in bins])).sum(0) / total
        for name in ("confidence", "accuracy")
    )
    page.head("Is the gate as often right as it is sure?")
    page.add(
        "The gate as a classifier that was never told a class: one half of the test images gives the experts "
        "their classes (Hungarian; an expert left over joins the class that gets most of its probability), "
        "the other half is scored. ECE is the mean distance between confidence and accuracy in "
        f"{len(total)} bins of confidence (0 is calibrated); Brier is the mean squared distance to the true "
        "class (0 to 2). A method that only assigns counts as certain."
    )
    chosen = tables.measured(study, (measures.ACC, measures.ECE, measures.BRIER))
    page.rows(tables.result_rows(study, analysis.table, chosen), 10, "[table.csv](table.csv)")
    page.show(
        "reliability",
        pictures.reliability(images.sum(0), confidence, accuracy),
        f"Accuracy by confidence: all {len(bins)} runs of cell {tables.label(study, cell)} together",
    )
