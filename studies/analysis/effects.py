"""Effects of axes: each level is averaged over the same settings of the other axes, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from studies.analysis.metrics import Measure
from studies.analysis.study import Study
from studies.statistics import anova, paired, simultaneous, stats
from studies.statistics.anova import Anova
from studies.statistics.paired import Comparison
from studies.statistics.stats import Matrix, Row, Summary


@dataclass(frozen=True)
class Contexts:
    """Cells of a study, arranged by the levels of one axis and the settings of the others."""

    cells: np.ndarray
    """Cell indices, [settings of the other axes, levels of the axis]."""
    reference: int
    """Index of the reference level."""
    left_out: int
    """Number of excluded settings, which lack runs of some level."""
    seeds: np.ndarray
    """Mask of the seeds that have all of these runs."""


@dataclass(frozen=True)
class AxisEffect:
    """Effect of one axis on one measure; arrays have one entry per level."""

    measure: Measure
    contexts: Contexts
    means: Matrix
    """Mean over seeds, [contexts, levels]."""
    summary: Summary
    """Summary over seeds of the averages over contexts."""
    comparison: Comparison
    """Paired comparison with the reference level."""
    levels: Matrix
    """Averages over contexts, [seeds, levels]; NaN in seeds that lack a run."""


def contexts(study: Study, axis: str, values: Matrix) -> Contexts | None:
    """Return the settings of the other axes in which every level of the axis has its runs.

    In a full grid these are all settings; in a one-at-a-time design, only that of the reference cell. If runs
    are missing, settings or seeds are excluded, whichever lack more.

    Args:
        study: a study of one data set.
        axis: key of the axis.
        values: values of the measure, [seeds, cells].

    Returns:
        The settings; None if no setting remains or the axis has one level.
    """
    place = tuple(study.axes).index(axis)
    _, first, setting = np.unique(
        np.delete(_codes(study), place, axis=1).sum(axis=1), return_index=True, return_inverse=True
    )
    rows = np.full((len(first), len(study.axes[axis])), -1)
    rows[np.argsort(np.argsort(first))[setting], study.levels[:, place]] = np.arange(len(study.cells))
    whole = rows[(rows >= 0).all(axis=1)]
    seeds, kept = stats.complete_block(np.isfinite(values[:, whole]).all(axis=2))
    if len(study.axes[axis]) < 2 or not kept.any() or not seeds.any():
        return None
    reference = study.levels[study.reference, place] if study.reference is not None else 0
    return Contexts(whole[kept], int(reference), int((~kept).sum()), seeds)


def effect(study: Study, axis: str, measure: Measure) -> AxisEffect | None:
    """Compute the effect of an axis on a measure; None if no setting has runs of all levels.

    Args:
        study: the study.
        axis: dotted key of the axis.
        measure: the measure.
    """
    runs = study.comparable(measure)
    where = contexts(study, axis, runs)
    if where is None:
        return None
    levels = runs[:, where.cells].mean(axis=1)  # [seeds, levels]
    levels[~where.seeds] = np.nan
    return AxisEffect(
        measure=measure,
        contexts=where,
        means=stats.means(runs)[where.cells],
        summary=stats.summarize(levels, measure.ends),
        comparison=paired.compare(levels, where.reference, measure.better or 1),
        levels=levels,
    )


def adjusted(along: Mapping[Measure, AxisEffect]) -> dict[Measure, Row]:
    """Test all levels of one axis against the reference level, adjusted over levels and measures.

    Args:
        along: effects of one axis, by measure.

    Returns:
        By measure, one p-value per level; NaN for the reference level, and if fewer than two seeds have all
        runs.
    """
    found = list(along.values())
    rows = simultaneous.from_reference(
        [each.levels for each in found], [each.contexts.reference for each in found]
    )
    return dict(zip(along, rows, strict=True))


def interactions(study: Study, chosen: Sequence[Measure]) -> dict[Measure, dict[tuple[int, ...], float]]:
    """Test the interactions of all pairs of axes of a full grid, adjusted over pairs and measures.

    Args:
        study: a study whose cells are a full grid.
        chosen: the measures.

    Returns:
        By measure and pair, the p-value. Indices count the axes with several levels, as in `variance`.
    """
    shape = [len(study.axes[axis]) for axis in varied(study)]
    order = np.argsort(_codes(study).sum(axis=1))
    rows = simultaneous.interactions([study.comparable(measure)[:, order] for measure in chosen], shape)
    pairs = list(combinations(range(len(shape)), 2))
    return {
        measure: dict(zip(pairs, row.tolist(), strict=True))
        for measure, row in zip(chosen, rows, strict=True)
    }


def variance(study: Study, measure: Measure) -> Anova | None:
    """Compute the analysis of variance over the axes with several levels; None without a full grid.

    Args:
        study: the study.
        measure: the measure.
    """
    axes = varied(study)
    shape = [len(study.axes[axis]) for axis in axes]
    if not axes or int(np.prod(shape)) != len(study.cells):
        return None
    values = study.comparable(measure)[:, np.argsort(_codes(study).sum(axis=1))]
    return anova.analyze(values.T.reshape(*shape, len(values)))


def _codes(study: Study) -> np.ndarray:
    """Return the level of each cell times the stride of its axis in the full grid, [cells, axes]."""
    sizes = [len(values) for values in study.axes.values()]
    return study.levels * [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]


def varied(study: Study) -> tuple[str, ...]:
    """Return the axes with more than one level."""
    return tuple(axis for axis, values in study.axes.items() if len(values) > 1)
