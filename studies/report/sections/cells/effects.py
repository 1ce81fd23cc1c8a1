"""Sections: the effect of each axis, and heat maps of balance weight and temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from moevae.visualization.style import Drawn
from studies.analysis import effects, metrics
from studies.analysis.analyze import Analysis
from studies.analysis.metrics import Measure
from studies.analysis.study import Study
from studies.report import markdown, plots, tables
from studies.report.markdown import escape
from studies.report.page import Page
from studies.statistics import stats
from studies.statistics.stats import Row

STRENGTH, TEMPERATURE = "objective.balance_weight", "routing.temperature"

MAX_PANELS = 8
"""Largest number of panels of a figure."""

Setting = tuple[tuple[str, int], ...]
"""Pairs of an axis and the index of its level."""


def in_order(levels: Sequence[Any]) -> bool:
    """Return whether levels are ascending or descending numbers, so that a line may connect them."""
    numbers = all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)
    return numbers and list(levels) in (sorted(levels), sorted(levels, reverse=True))


def axis_effects(analysis: Analysis, page: Page) -> None:
    """Add a section per axis: means by level, paired comparisons, adjusted p-values and learning curves."""
    study = analysis.study
    names = tables.axis_names(study.axes)
    for axis, along in analysis.effects.items():
        if not along:
            continue
        ticks = study.texts[axis]
        where = next(iter(along.values())).contexts
        page.head(f"Effect of {names[axis]}")
        settings = len(where.cells)
        some = "some of " if settings > plots.MAX_LINES else ""
        excluded = f"; {where.left_out} settings with missing runs are excluded" if where.left_out else ""
        if settings > 1:
            page.add(
                f"The table averages each level over {settings} settings of the other axes, seed by seed"
                f"{excluded}. Gray lines show {some}the settings."
            )
        elif len(analysis.effects) > 1:
            alone = "those of the reference cell" if study.reference in where.cells else "the same"
            page.add(f"The levels of the other axes are {alone} in all rows{excluded}.")
        ordered = in_order(study.axes[axis])
        drawn = [
            measure for measure in (*analysis.compared, *metrics.shown_on("routing")) if measure in along
        ]
        words = f"Means and intervals of {', '.join(measure.label for measure in drawn[:6])} by {names[axis]}"
        levels = plots.levels([along[measure] for measure in drawn[:6]], ticks, names[axis], ordered=ordered)
        drawn_curves = _curves(study, axis, where, ticks)
        page.show(
            f"effect {names[axis]}",
            {words: levels, **drawn_curves},
            "Blue: mean over seeds"
            + (", each averaged over the settings of the other axes" if settings > 1 else "")
            + "; bars: 95 % interval of that mean (Student's t)."
            + (" Gray: mean of each setting of the other axes." if settings > 1 else "")
            + (
                " Below: learning curves on validation images; line: mean over seeds, band: 95 % interval of "
                "the mean (Student's t) at each epoch, not simultaneous over epochs."
                if drawn_curves
                else ""
            ),
        )
        rows = tables.level_rows([along[measure] for measure in drawn], ticks, where.reference, names[axis])
        page.add(markdown.table(rows))
        for measure in analysis.compared:
            if measure in along:
                comparison, reference = along[measure].comparison, along[measure].contexts.reference
                level = escape(f"{names[axis]} {ticks[reference]}")
                page.add(f"Differences in {measure.label} from {level}, paired by seed:")
                page.add(
                    markdown.table(tables.comparison_rows(measure, comparison, ticks, reference, names[axis]))
                )
        _adjusted(analysis.level_p[axis], ticks, where.reference, names[axis], page)


def _adjusted(
    moved: Mapping[Measure, Row], ticks: Sequence[str], reference: int, name: str, page: Page
) -> None:
    """Add the p-values of the sentences about the axis."""
    rows = [
        {name: tick} | {measure.label: markdown.p_value(row[place]) for measure, row in moved.items()}
        for place, tick in enumerate(ticks)
        if place != reference
    ]
    if any(np.isfinite(row).any() for row in moved.values()):
        page.add(
            f"The sentences of the summary use the p-values below. They compare each level with "
            f"{escape(f'{name} {ticks[reference]}')} and are adjusted over these levels and measures (max-T, "
            "Westfall & Young 1993).",
            markdown.table(rows),
        )


def heat_maps(analysis: Analysis, page: Page) -> None:
    """Add heat maps of the compared measures by balance weight and temperature.

    Designs that vary one axis at a time have none, since the sections of the axes show all their cells.
    """
    study = analysis.study
    if any(len(study.axes.get(axis, ())) < 2 for axis in (STRENGTH, TEMPERATURE)):
        return
    names = tables.axis_names(study.axes)
    fixed, panels = _panels(study)
    grids = {
        measure: {
            ", ".join(f"{names[axis]} {study.texts[axis][level]}" for axis, level in panel): grid
            for panel in panels
            if _more_than_a_cross(grid := _grid(study, measure, (*fixed, *panel)))
        }
        for measure in analysis.compared
    }
    if not any(grids.values()):
        return
    page.head("Balance weight and temperature")
    held = ", ".join(f"{names[axis]} {study.texts[axis][level]}" for axis, level in fixed)
    page.add(
        f"Heat maps show the cells with {escape(held)}. [table.csv](table.csv) contains all cells."
        if held
        else ""
    )
    page.show(
        "heat maps",
        {
            f"Mean {measure.heading} by {names[STRENGTH]} and {names[TEMPERATURE]}": plots.heat_maps(
                drawn,
                measure,
                study.texts[STRENGTH],
                study.texts[TEMPERATURE],
                (names[STRENGTH], names[TEMPERATURE]),
            )
            for measure, drawn in grids.items()
            if drawn
        },
        "Color and number: mean over seeds, on one scale for all panels of a measure. Crossed out: no runs.",
    )


def _panels(study: Study) -> tuple[Setting, list[Setting]]:
    """Return the settings that all heat maps share and the settings of each, at most `MAX_PANELS`.

    The longest of the other axes are fixed at the level of the reference cell.
    """
    varied = [axis for axis in study.axes if axis not in (STRENGTH, TEMPERATURE)]
    fixed = []
    while math.prod(len(study.axes[axis]) for axis in varied) > MAX_PANELS:
        axis = max(varied, key=lambda each: len(study.axes[each]))
        varied.remove(axis)
        level = (
            study.levels[study.reference, tuple(study.axes).index(axis)] if study.reference is not None else 0
        )
        fixed.append((axis, int(level)))
    choices = product(*(range(len(study.axes[axis])) for axis in varied))
    return tuple(fixed), [tuple(zip(varied, levels, strict=True)) for levels in choices]


def _curves(study: Study, axis: str, where: effects.Contexts, ticks: list[str]) -> dict[str, Drawn]:
    """Draw learning curves by level; return the figure by its alternative text, or nothing without curves."""
    if len(ticks) > len(plots.MARKERS):
        return {}
    panels = {}
    for name, title, measure in (
        ("mixture_elbo", "validation ELBO (nats)", metrics.ELBO),
        ("nmi", "validation NMI", metrics.NMI),
    ):
        epochs, curves = study.curves(name)
        values = curves[:, where.cells].mean(axis=1)  # [seeds, levels, E]
        if not np.isfinite(values).any():
            continue
        lines = [
            (stats.means(level), *stats.intervals(level, ends=measure.ends))
            for level in values.swapaxes(0, 1)
        ]
        panels[title] = (epochs, lines)
    if not panels:
        return {}
    words = tables.axis_names(study.axes)[axis]
    return {f"Learning curves by {words}: mean over seeds and 95 % band": plots.curves(panels, ticks, words)}


def _more_than_a_cross(grid: np.ndarray) -> bool:
    """Return whether the known cells are more than one row and one column."""
    return bool(np.isfinite(grid).sum() >= sum(grid.shape))


def _grid(study: Study, measure: Measure, setting: Setting) -> np.ndarray:
    level = dict(zip(study.axes, study.levels.T, strict=True))
    kept = np.all([np.ones(len(study.cells)), *(level[axis] == value for axis, value in setting)], axis=0)
    grid = np.full((len(study.axes[STRENGTH]), len(study.axes[TEMPERATURE])), np.nan)
    grid[level[STRENGTH][kept], level[TEMPERATURE][kept]] = stats.means(study.matrix(measure.key))[kept]
    return grid
