"""Statistics of a study by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.analysis import criteria, metrics
from studies.analysis.metrics import Measure
from studies.analysis.study import Study
from studies.statistics import stats
from studies.utils.formatting import exact


def label(study: Study, cell: int) -> str:
    """Return the label of a cell in tables and figures, which is its number.

    Args:
        study: the study.
        cell: index of the cell.
    """
    return f"{study.numbers[cell]}"


def measured(study: Study, candidates: Sequence[Measure]) -> tuple[Measure, ...]:
    """Return the measures that at least one run has; for example, there is no NMI without labels.

    Args:
        study: the study.
        candidates: measures to choose from.
    """
    return tuple(measure for measure in candidates if measure.key in study.keys)


def cell_table(study: Study, chosen: Sequence[Measure]) -> pd.DataFrame:
    """Summarize each cell, then each baseline method, in one row.

    Args:
        study: a study of one data set.
        chosen: measures to summarize.

    Returns:
        Values on the axes; complete, failed and missing runs; and for each measure mean, standard deviation
        (ddof = 1), median, interquartile mean, ends of the 95 % interval, n and number of outliers.
    """
    baselines = [baseline.name for baseline in study.baselines]
    columns: dict[str, Any] = {
        "cell": [*(label(study, cell) for cell in range(len(study.cells))), *baselines]
    }
    for place, axis in enumerate(study.axes):
        columns[axis] = [*(exact(cell[place]) for cell in study.cells), *("–" for _ in baselines)]
    whole = [sum(run.complete for run in baseline.runs) for baseline in study.baselines]
    columns["complete"] = _count(study, [run.cell for run in study.runs if run.complete]) + whole
    lost = [len(baseline.runs) - count for baseline, count in zip(study.baselines, whole, strict=True)]
    columns["failed"] = _count(study, [run.cell for run in study.failed]) + lost
    absent = Counter(name for name, _ in study.missing_baselines)
    columns["missing"] = _count(study, [cell for cell, _ in study.missing]) + [
        absent[name] for name in baselines
    ]
    for measure in chosen:
        values = np.hstack([study.matrix(measure.key), study.baseline_matrix(measure.key)])
        summary = stats.summarize(values, measure.ends)
        for name in ("mean", "std", "median", "iqm", "low", "high", "n"):
            columns[f"{measure.key} {name}"] = getattr(summary, name)
        columns[f"{measure.key} outliers"] = stats.outliers(values).sum(axis=0)
    return pd.DataFrame(columns)


def all_measures(study: Study) -> tuple[Measure, ...]:
    """Return all known measures that the study has."""
    return measured(
        study, (*metrics.shown_on("leading"), *metrics.shown_on("diagnostics"), *metrics.shown_on("routing"))
    )


def compared_bound(study: Study) -> Measure:
    """Return the bound that a study compares: the IWAE bound if all runs have the same one, else the ELBO.

    Args:
        study: a study of one data set.
    """
    return metrics.IWAE if criteria.share_iwae_bound(study.runs) else metrics.ELBO


def _count(study: Study, cells: Sequence[int]) -> list[int]:
    return np.bincount(np.array(cells, dtype=int), minlength=len(study.cells)).tolist()
