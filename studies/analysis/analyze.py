"""All statistics of the runs on one data set, computed once for all sections of a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.analysis import cell_stats, effects, metrics, selection
from studies.analysis.effects import AxisEffect
from studies.analysis.metrics import Measure
from studies.analysis.selection import Choice
from studies.analysis.study import Study
from studies.statistics import paired, pareto, simultaneous, stats
from studies.statistics.anova import Anova
from studies.statistics.paired import Comparison
from studies.statistics.stats import Row

SUMMARY_MEASURES = (metrics.NMI, metrics.ELBO, metrics.IWAE, metrics.DEAD)
"""Measures tested for the sentences about an axis."""


@dataclass(frozen=True)
class Analysis:
    """A study of one data set and its statistics."""

    study: Study
    leading: tuple[Measure, ...]
    """Measures of the main table that the study has; the first orders its rows."""
    compared: tuple[Measure, ...]
    """Measures that are compared: NMI, if there are labels, and a bound, see `cell_stats.compared_bound`."""
    table: pd.DataFrame
    """One row per cell, see `cell_stats.cell_table`."""
    contrasts: dict[Measure, Comparison]
    """Each cell compared with the reference cell; empty if that has no complete run."""
    baseline_contrasts: dict[Measure, Comparison]
    """Baselines compared with the reference cell, which comes first; empty without either."""
    effects: dict[str, dict[Measure, AxisEffect]]
    """Effects by axis and measure; empty for an axis without settings that have all levels."""
    variance: dict[Measure, Anova]
    """Analysis of variance by measure, for full grids only."""
    below_best: dict[Measure, Row]
    """p-values of each cell compared with the cell of highest mean, adjusted over cells and measures."""
    level_p: dict[str, dict[Measure, Row]]
    """By axis, p-values of each level against the reference level, adjusted over levels and
    `SUMMARY_MEASURES`."""
    interaction_p: dict[Measure, dict[tuple[int, ...], float]]
    """p-values of the interaction of each pair of axes, adjusted over pairs and measures."""
    choices: list[Choice]
    """Choices of rules that use no labels; empty without labels to compute their cost."""
    front: np.ndarray
    """Mask of cells on the Pareto front of the compared measures, [cells]."""


def analyze(study: Study) -> Analysis:
    """Compute all statistics that a report shows of one data set.

    Args:
        study: a study of one data set, see `Study.by_data`.
    """
    bound = cell_stats.compared_bound(study)
    compared = cell_stats.measured(study, (metrics.NMI, bound))
    leading = cell_stats.measured(study, metrics.shown_on("leading"))
    if bound is metrics.IWAE:  # what the study is about
        leading = tuple(dict.fromkeys((bound, *leading)))
    along = {
        axis: {
            measure: effect
            for measure in (*compared, *cell_stats.measured(study, metrics.shown_on("routing")))
            if (effect := effects.effect(study, axis, measure)) is not None
        }
        for axis in effects.varied(study)
    }
    reference = study.reference
    alive = reference is not None and any(run.complete for run in study.of_cell(reference))
    tried = {measure: effects.variance(study, measure) for measure in compared}
    variance = {measure: found for measure, found in tried.items() if found is not None}
    return Analysis(
        study=study,
        leading=leading,
        compared=compared,
        table=cell_stats.cell_table(study, cell_stats.all_measures(study)),
        contrasts={
            measure: paired.compare(study.comparable(measure), reference, measure.better)
            for measure in compared
            if alive and reference is not None and len(study.cells) > 1
        },
        baseline_contrasts={
            measure: paired.compare(
                np.hstack([study.matrix(measure.key)[:, [reference]], study.baseline_matrix(measure.key)]),
                0,
                measure.better,
            )
            for measure in cell_stats.measured(study, (metrics.NMI, metrics.ACC))
            if alive and reference is not None and study.baselines
        },
        effects=along,
        variance=variance,
        below_best=dict(
            zip(
                compared,
                simultaneous.below_best([study.comparable(measure) for measure in compared]),
                strict=True,
            )
        ),
        level_p={
            axis: effects.adjusted({measure: of[measure] for measure in SUMMARY_MEASURES if measure in of})
            for axis, of in along.items()
        },
        interaction_p=effects.interactions(study, list(variance)) if variance else {},
        choices=selection.choose(study, compared[0]) if metrics.NMI in compared else [],
        front=_front(study, compared),
    )


def _front(study: Study, compared: tuple[Measure, ...]) -> np.ndarray:
    columns = []
    for measure in compared:
        values = study.comparable(measure)
        columns.append((stats.means(values), *stats.intervals(values, ends=measure.ends)))
    if not columns:
        return np.zeros(len(study.cells), dtype=bool)
    return pareto.front(*(np.stack(part, axis=1) for part in zip(*columns, strict=True)))
