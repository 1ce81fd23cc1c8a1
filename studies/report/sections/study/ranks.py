"""Section: ranks of the cells across data sets."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np

from studies.analysis.analyze import Analysis
from studies.report import markdown, plots, tables
from studies.report.markdown import escape
from studies.report.page import Page
from studies.statistics import ranks, stats
from studies.statistics.ranks import MIN_DATA_SETS

LABEL_WIDTH = 48
"""Largest number of characters in a line of a label in the figure."""
MAX_CELLS = 20
"""Largest number of cells that are drawn and listed."""


def across_data_sets(analyses: Mapping[str, Analysis], page: Page) -> None:
    """Add the mean rank of each cell over the data sets of the study."""
    parts = list(analyses.values())
    first = parts[0]
    same = all(part.study.cells == first.study.cells for part in parts)
    common = [measure for measure in first.compared if all(measure in part.compared for part in parts)]
    if len(parts) < 2 or len(first.study.cells) < 3 or not same or not common:
        return
    measure = common[0]
    means = np.stack([stats.means(part.study.matrix(measure.key)) for part in parts])  # [data sets, cells]
    known = np.flatnonzero(np.isfinite(means).all(axis=0))
    if len(known) < 3:
        return
    found = ranks.rank(means[:, known], measure.better)
    order = np.argsort(found.mean, kind="stable")[:MAX_CELLS]
    kept = ranks.Ranks(found.by_data[:, order], found.mean[order], found.p, found.distance)
    study = first.study
    names = [tables.describe_changes(study, cell) for cell in known[order].tolist()]
    page.head("Ranks across data sets")
    some = f" The first {MAX_CELLS} of {len(known)} are shown." if len(known) > MAX_CELLS else ""
    page.add(
        f"Cells are ranked by mean {measure.label} on each of {len(parts)} data sets (1 is the best), and "
        f"the ranks are averaged. {_test(found, len(parts))}{some}"
    )
    band = (
        ""
        if np.isnan(found.distance)
        else " Lines are half the critical difference to both sides: mean ranks whose lines do not overlap "
        "differ significantly."
    )
    labels = [textwrap.fill(name, LABEL_WIDTH) for name in names]  # cut ones would be the same
    page.show(
        "ranks",
        {f"Mean rank in {measure.label} over the data sets": plots.ranks(kept, labels, "mean rank")},
        f"Blue: mean rank of a cell. Gray: its rank on each data set.{band or ' There is no band.'}",
    )
    page.rows(
        [
            {"cell, by its changes of the reference cell": name, "mean rank": f"{kept.mean[place]:.1f}"}
            | {data: f"{kept.by_data[row, place]:g}" for row, data in enumerate(analyses)}
            for place, name in enumerate(names)
        ],
        MAX_CELLS,
    )


def _test(found: ranks.Ranks, sets: int) -> str:
    """State Friedman's test and the critical difference, or why there is none."""
    if np.isnan(found.distance):
        return f"With fewer than {MIN_DATA_SETS} data sets, ranks are not tested."
    shown = markdown.p_value(found.p)
    p = escape(shown if shown.startswith("<") else f"= {shown}")
    return (
        f"Friedman's test: p {p}; mean ranks that differ by more than {found.distance:.2f} differ "
        f"significantly (Nemenyi; Demšar 2006; {sets} data sets)."
    )
