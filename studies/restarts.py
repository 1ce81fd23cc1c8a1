"""What restarts without labels give: of some runs of a cell, the one with the best bound is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from studies import bounds, markup, measures, stats, tables
from studies.analysis import Analysis
from studies.measures import Measure
from studies.page import Page
from studies.study import Run

MOST = 5
"""Runs of a group that one is kept of, at most."""
GROUPS = 3
"""Fewer groups than these say nothing."""


def kept(runs: Sequence[Run], restarts: int, split: str) -> list[Run]:
    """Return the run with the highest bound of each whole group of consecutive seeds.

    Args:
        runs: of one cell, by seed; one that failed has no bound, and a group of those keeps none.
        restarts: runs of a group.
        split: whose mixture ELBO decides.
    """
    key = bounds.key(split)
    groups = [runs[start : start + restarts] for start in range(0, len(runs) - restarts + 1, restarts)]
    alive = [[run for run in group if key in run.metrics] for group in groups]
    return [max(group, key=lambda run: run.metrics[key]) for group in alive if group]


def restarting(analysis: Analysis, page: Page) -> None:
    """What the baseline cell gives where each result is the best of several runs by the bound."""
    study, cell = analysis.study, analysis.study.baseline or 0
    runs = study.of_cell(cell)
    split, _ = bounds.judged(runs)
    sizes = [size for size in range(1, MOST + 1) if len(runs) >= GROUPS * size]
    if not split or len(sizes) < 2:
        return
    page.head("What restarts without labels give")
    page.add(
        f"Runs of cell {tables.label(study, cell)} in groups of consecutive seeds, no run in two of them; of "
        f"each group the run with the highest mixture ELBO on {split} images is kept, which sees no labels. "
        "n counts groups, and a row tells of as many runs as its groups hold."
    )
    shown = tables.measured(study, (measures.NMI, measures.ARI, measures.ACC, measures.ELBO))
    rows = [_row(size, kept(runs, size, split), shown) for size in sizes]
    page.add(markup.table(rows), f"As CSV: {page.keep('restarts', pd.DataFrame(rows))}.")


def _row(size: int, runs: Sequence[Run], shown: Sequence[Measure]) -> dict[str, str]:
    row = {"best of": f"{size} runs" if size > 1 else "1 run, as it comes", "n": str(len(runs))}
    for measure in shown:
        values = np.array([[run.metrics.get(measure.key, np.nan)] for run in runs])  # [groups, 1]
        parts = (stats.means(values), stats.deviations(values), *stats.intervals(values))
        row[measure.heading] = tables.spread(measure, *(float(part[0]) for part in parts))
        row[f"lowest {measure.label}"] = measure.show(float(np.nanmin(values)))
    return row
