"""What restarts without labels give: of some runs of a cell, a named criterion keeps one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from studies.analysis import judging, metrics, stats
from studies.analysis.analyze import Analysis
from studies.analysis.judging import Score
from studies.analysis.metrics import Measure
from studies.analysis.study import Run
from studies.report import markdown, tables
from studies.report.page import Page

HEAD = "What restarts without labels give"
MOST = 5
"""Runs of a group that one is kept of, at most."""
GROUPS = 3
"""Fewer groups than these say nothing."""


def kept(runs: Sequence[Run], restarts: int, criterion: Score) -> list[Run]:
    """Return the best run of each whole group of consecutive seeds.

    Args:
        runs: of one cell, by seed; one that failed cannot be judged, and a group of those keeps none.
        restarts: runs of a group.
        criterion: what decides.
    """
    groups = [runs[start : start + restarts] for start in range(0, len(runs) - restarts + 1, restarts)]
    alive = [[run for run in group if not np.isnan(criterion(run))] for group in groups]
    return [max(group, key=criterion) for group in alive if group]


def restarting(analysis: Analysis, page: Page) -> None:
    """What the baseline cell gives where each result is the best of several runs."""
    study, cell = analysis.study, analysis.study.baseline or 0
    runs = study.of_cell(cell)
    sizes = [size for size in range(1, MOST + 1) if len(runs) >= GROUPS * size]
    alive = [run for run in runs if run.complete]
    first = judging.judge(alive)
    if not alive or len(sizes) < 2:
        return
    if first is None:
        page.head(HEAD)
        page.add(judging.REFUSAL)
        return
    judges = [first, *([judging.GATE] if all(map(judging.GATE.has, alive)) else [])]
    page.head(HEAD)
    page.add(
        f"Runs of cell {tables.label(study, cell)} in groups of consecutive seeds, no run in two of them; of "
        f"each group one is kept, without labels and without the test split: the run with "
        f"{', or with '.join(judge.words for judge in judges)}. n counts groups, and a row tells of as many "
        "runs as its groups hold."
    )
    shown = tables.measured(study, (metrics.NMI, metrics.ARI, metrics.ACC, metrics.ELBO))
    rows = [_row("1 run, as it comes", kept(runs, 1, first.score), shown)]
    rows += [
        _row(f"{size} runs, by {judge.label}", kept(runs, size, judge.score), shown)
        for judge in judges
        for size in sizes[1:]
    ]
    page.add(markdown.table(rows), f"As CSV: {page.keep('restarts', pd.DataFrame(rows))}.")


def _row(name: str, runs: Sequence[Run], shown: Sequence[Measure]) -> dict[str, str]:
    row = {"best of": name, "n": str(len(runs))}
    for measure in shown:
        values = np.array([[run.metrics.get(measure.key, np.nan)] for run in runs])  # [groups, 1]
        parts = (stats.means(values), stats.deviations(values), *stats.intervals(values, ends=measure.ends))
        row[measure.heading] = tables.spread(measure, *(float(part[0]) for part in parts))
        row[f"lowest {measure.label}"] = measure.show(float(np.nanmin(values)))
    return row
