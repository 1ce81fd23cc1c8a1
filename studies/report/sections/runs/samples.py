"""Section: distances of samples from the training images."""

from __future__ import annotations

from studies.analysis import cell_stats, metrics
from studies.analysis.analyze import Analysis
from studies.report import tables
from studies.report.page import FOLDED, Page

SHOWN_ROWS = 12
"""Number of table rows that are not collapsed."""


def distances(analysis: Analysis, page: Page) -> None:
    """Compare samples and test images by their distances from the training images, if they were measured."""
    study, table = analysis.study, analysis.table
    known = cell_stats.measured(study, metrics.DISTANCES)
    if not known:
        return
    page.head("Samples and the training images nearest to them")
    page.add(
        "A model that copies training images has samples that are nearer to them than test images are. The "
        "distance is the number of pixels in which two binary images differ (the Hamming distance, and the "
        "squared Euclidean distance), here from the nearest of all training images. Samples draw an expert "
        "from the prior over experts, z from the prior of the expert, and each pixel; they are compared with "
        "as many test images. Training and test images are binarized once, so that even a copy of gray "
        "pixels differs by the noise of the binarization. Each distance is the median or the lowest of a "
        "run, averaged over the runs of a cell."
    )
    chosen = (*cell_stats.measured(study, (metrics.IWAE,)), *known)
    count = int(table[f"{known[0].key} mean"].notna().sum())
    rows = tables.result_rows(study, table, chosen, most=min(count, SHOWN_ROWS + FOLDED))
    page.rows(rows, SHOWN_ROWS, "[table.csv](table.csv)", total=count)
