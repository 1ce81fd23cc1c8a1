"""Cells of different studies side by side: shared metrics, their differences, and settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from moevae.config import overrides
from moevae.errors import RecordError
from studies.analysis import metrics
from studies.analysis.metrics import Measure
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.report import markdown, tables
from studies.statistics import paired, stats
from studies.utils.formatting import exact

MEASURES = tuple(dict.fromkeys(metrics.shown_on("leading", "routing", "bounds")))


@dataclass(frozen=True)
class Side:
    """One cell of a study on one data set."""

    name: str
    """Name of the study, and the number of the cell if there are several."""
    study: Study
    """The study of the data set."""
    cell: int

    @property
    def runs(self) -> tuple[StudyRun, ...]:
        """The complete runs."""
        return tuple(run for run in self.study.of_cell(self.cell) if run.complete)

    def values(self, key: str) -> dict[int, float]:
        """Return the finite values of a metric, by seed.

        Args:
            key: key of the metric, such as `test.nmi`.
        """
        return {run.seed: run.metrics[key] for run in self.runs if np.isfinite(run.metrics.get(key, np.nan))}


@dataclass(frozen=True)
class Difference:
    """Mean of the second cell minus that of the first, with its 95 % interval."""

    mean: float
    low: float
    high: float
    p: float
    """Sign-flip test if paired, else Welch's test; NaN if either has fewer than two runs."""
    n: int
    """Number of pairs; 0 if the runs are not paired."""


def sides(study: Study, number: int | None) -> dict[str, Side]:
    """Return the cell of a study to compare, by data set.

    Args:
        study: the study.
        number: number of the cell, from 1; None for the reference cell.

    Raises:
        RecordError: there is no such cell.
    """
    found = {}
    for data, part in study.by_data().items():
        if number is None:
            cell = part.reference if part.reference is not None else 0 if len(part.cells) == 1 else None
        else:
            cell = part.numbers.index(number) if number in part.numbers else None
        if cell is not None:
            several = len(study.cells) > 1
            found[data] = Side(f"{study.name}:{part.numbers[cell]}" if several else study.name, part, cell)
    if not found:
        what = "no reference cell" if number is None else f"no cell {number}"
        raise RecordError(f"{study.name}: {what}; expected STUDY:CELL with a cell of 1 to {len(study.cells)}")
    return found


def difference(first: dict[int, float], second: dict[int, float]) -> Difference:
    """Return the difference of two cells: paired by seed if they share two or more seeds, else Welch's.

    Args:
        first: values by seed.
        second: values by seed.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) > 1:
        deltas = np.array([[second[seed] - first[seed]] for seed in shared])
        low, high = stats.intervals(deltas)
        return Difference(
            float(deltas.mean()),
            float(low[0]),
            float(high[0]),
            float(paired.sign_flip(deltas)[0]),
            len(shared),
        )
    one, other = np.array(list(first.values())), np.array(list(second.values()))
    mean = float(other.mean() - one.mean())
    if min(len(one), len(other)) < 2 or not (np.ptp(one) or np.ptp(other)):
        return Difference(mean, float("nan"), float("nan"), float("nan"), 0)
    found = scipy.stats.ttest_ind(other, one, equal_var=False)
    low, high = found.confidence_interval(stats.LEVEL)
    return Difference(mean, float(low), float(high), float(found.pvalue), 0)


def metric_rows(first: Side, second: Side) -> list[dict[str, str]]:
    """Return a row of text per metric that both cells have.

    Args:
        first: the first cell.
        second: the second cell. Bounds are compared only for one likelihood and test split, and IWAE bounds
            only for as many samples and images.
    """
    rows = []
    for measure in MEASURES:
        one, other = first.values(measure.key), second.values(measure.key)
        if not one or not other or (measure.nats and not _comparable(measure, first, second)):
            continue
        found = difference(one, other)
        shown = tables.spread(measure, found.mean, np.nan, found.low, found.high)
        rows.append(
            {
                "metric": measure.heading,
                first.name: _mean(measure, one),
                second.name: _mean(measure, other),
                "difference [95 %]": shown.replace("\n", " "),
                "p": markdown.p_value(found.p if measure.spread else np.nan),
                "paired": f"{found.n} seeds" if found.n else "no",
            }
        )
    return rows


def setting_rows(compared: Sequence[Side]) -> list[dict[str, str]]:
    """Return a row of text per setting in which the cells differ, apart from the seed.

    Args:
        compared: the cells.
    """
    configs = [dict(overrides.leaves(side.runs[0].record.config)) for side in compared if side.runs]
    if len(configs) < len(compared):
        return []
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if key != "seed"]
    rows = []
    for key in keys:
        shown = [exact(config[key]) if key in config else "–" for config in configs]
        if len({*map(str, shown)}) > 1:
            rows.append(
                {"setting": key}
                | {side.name: str(value) for side, value in zip(compared, shown, strict=True)}
            )
    return rows


def _mean(measure: Measure, values: dict[int, float]) -> str:
    column = np.array([[value] for value in values.values()])
    mean, std = float(stats.means(column)[0]), float(stats.deviations(column)[0])
    return f"{tables.spread(measure, mean, std)} (n = {len(values)})"


def _comparable(measure: Measure, first: Side, second: Side) -> bool:
    one, other = first.runs[0], second.runs[0]
    if measure in metrics.RISING and one.iwae_estimate != other.iwae_estimate:
        return False
    return (one.likelihood, one.tested_on) == (other.likelihood, other.tested_on)
