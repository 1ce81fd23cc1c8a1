"""What restarts without labels give: of some runs of a cell, a named criterion keeps one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


Criterion = Callable[[Run], float]
"""The higher the better; NaN where a run has none."""


def by_bound(split: str) -> Criterion:
    """Judge runs by their mixture ELBO on a split."""
    return lambda run: run.metrics.get(bounds.key(split), np.nan)


def by_gate(run: Run) -> float:
    """Judge a run by what its gate learned by in the last epoch, where experts did not steer it."""
    return -float(run.curve["gate_loss"][-1]) if run.complete and "gate_loss" in run.curve else np.nan


def kept(runs: Sequence[Run], restarts: int, criterion: Criterion) -> list[Run]:
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
    split, _ = bounds.judged(runs)
    sizes = [size for size in range(1, MOST + 1) if len(runs) >= GROUPS * size]
    if not split or len(sizes) < 2:
        return
    page.head("What restarts without labels give")
    criteria = {"ELBO": by_bound(split)}
    judged = f"the run with the highest mixture ELBO on {split} images"
    if not any(np.isnan(by_gate(run)) for run in runs if run.complete):
        criteria["the gate's loss"] = by_gate
        judged += ", or the run whose gate has the lowest loss of its own in the last epoch of training"
    page.add(
        f"Runs of cell {tables.label(study, cell)} in groups of consecutive seeds, no run in two of them; of "
        f"each group one is kept, which sees no labels: {judged}. n counts groups, and a row tells of as "
        "many runs as its groups hold."
    )
    shown = tables.measured(study, (measures.NMI, measures.ARI, measures.ACC, measures.ELBO))
    rows = [_row("1 run, as it comes", kept(runs, 1, criteria["ELBO"]), shown)]
    rows += [
        _row(f"{size} runs, by {name}", kept(runs, size, criterion), shown)
        for name, criterion in criteria.items()
        for size in sizes[1:]
    ]
    page.add(markup.table(rows), f"As CSV: {page.keep('restarts', pd.DataFrame(rows))}.")


def _row(name: str, runs: Sequence[Run], shown: Sequence[Measure]) -> dict[str, str]:
    row = {"best of": name, "n": str(len(runs))}
    for measure in shown:
        values = np.array([[run.metrics.get(measure.key, np.nan)] for run in runs])  # [groups, 1]
        parts = (stats.means(values), stats.deviations(values), *stats.intervals(values, ends=measure.ends))
        row[measure.heading] = tables.spread(measure, *(float(part[0]) for part in parts))
        row[f"lowest {measure.label}"] = measure.show(float(np.nanmin(values)))
    return row
