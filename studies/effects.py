"""What an axis does: its levels, each averaged over the same settings of the other axes, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from studies import anova, paired, stats
from studies.anova import Anova
from studies.measures import Measure
from studies.paired import Comparison
from studies.stats import Matrix, Row, Summary
from studies.study import Study, identity


@dataclass(frozen=True)
class Contexts:
    """Cells of a study arranged by what they share with each other."""

    cells: np.ndarray
    """[settings of the other axes, levels of the axis]."""
    baseline: int
    """The level that the others are compared with."""
    left_out: int
    """Settings that lack runs of some level: they would compare unlike with unlike."""
    seeds: np.ndarray
    """Which seeds have all of these runs."""


@dataclass(frozen=True)
class Effect:
    """One measure along one axis; arrays of one entry a level."""

    measure: Measure
    contexts: Contexts
    means: Matrix
    """Mean over seeds, [contexts, levels]."""
    summary: Summary
    """Of the averages over contexts, one a seed."""
    comparison: Comparison
    """With the baseline level."""
    low: Row
    """Lower end of the interval of the difference that a sentence may rest on, for all levels together."""
    high: Row


def contexts(study: Study, axis: str, values: Matrix) -> Contexts | None:
    """Return the settings of the other axes in which every level of the axis has its runs.

    In a full grid these are all settings, in a one-at-a-time design the baseline's alone. Where runs are
    missing, settings or seeds are left out, whichever lack more. None where no setting is left, or the
    axis has one level.
    """
    place = tuple(study.axes).index(axis)
    levels = {identity([value]): level for level, value in enumerate(study.axes[axis])}
    rows: dict[str, np.ndarray] = {}
    for number, cell in enumerate(study.cells):
        row = rows.setdefault(identity(cell[:place] + cell[place + 1 :]), np.full(len(levels), -1))
        row[levels[identity([cell[place]])]] = number
    whole = np.array([row for row in rows.values() if (row >= 0).all()], dtype=int).reshape(-1, len(levels))
    seeds, kept = stats.whole_block(np.isfinite(values[:, whole]).all(axis=2))
    if len(levels) < 2 or not kept.any() or not seeds.any():
        return None
    reference = study.cells[study.baseline][place] if study.baseline is not None else study.axes[axis][0]
    return Contexts(whole[kept], levels[identity([reference])], int((~kept).sum()), seeds)


def effect(study: Study, axis: str, measure: Measure) -> Effect | None:
    """Return what the axis does to a measure; None where no setting has runs of all its levels."""
    runs = study.comparable(measure)
    where = contexts(study, axis, runs)
    if where is None:
        return None
    levels = runs[:, where.cells].mean(axis=1)  # [seeds, levels]
    levels[~where.seeds] = np.nan
    differences = levels - levels[:, [where.baseline]]
    differences[:, where.baseline] = np.nan
    low, high = stats.guarded_intervals(differences, comparisons=levels.shape[1] - 1)
    return Effect(
        measure=measure,
        contexts=where,
        means=stats.means(runs)[where.cells],
        summary=stats.summarize(levels),
        comparison=paired.compare(levels, where.baseline, measure.better or 1),
        low=low,
        high=high,
    )


def variance(study: Study, measure: Measure) -> Anova | None:
    """Return the analysis of variance over the axes with several levels; None without a full grid."""
    axes = varied(study)
    shape = [len(study.axes[axis]) for axis in axes]
    if not axes or int(np.prod(shape)) != len(study.cells):
        return None
    places = {identity(cell): number for number, cell in enumerate(study.cells)}
    order = [places[identity(cell)] for cell in product(*study.axes.values())]
    values = study.comparable(measure)[:, order]
    return anova.analyze(values.T.reshape(*shape, len(values)))


def varied(study: Study) -> tuple[str, ...]:
    """Return the axes with more than one level."""
    return tuple(axis for axis, values in study.axes.items() if len(values) > 1)
