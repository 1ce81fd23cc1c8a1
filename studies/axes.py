"""The page's sections about the axes: what each does, and the map of two of them."""

from __future__ import annotations

from itertools import product

import numpy as np

from studies import effects, markup, measures, plots, stats, tables
from studies.analysis import Analysis
from studies.markup import escape
from studies.measures import Measure
from studies.page import Page
from studies.study import Study

STRENGTH, TEMPERATURE = "objective.balance_weight", "routing.temperature"


def effect_of_each(analysis: Analysis, page: Page) -> None:
    """A section an axis: its levels, paired tests, what it does to the experts, and learning curves."""
    study = analysis.study
    names = tables.words(study.axes)
    for axis, along in analysis.effects.items():
        if not along:
            continue
        ticks = [tables.show(value) for value in study.axes[axis]]
        where = next(iter(along.values())).contexts
        page.head(f"Effect of {names[axis]}")
        settings = len(where.cells)
        page.add(
            f"Each level averaged over the same {settings} setting{'s'[: settings > 1]} of the other axes"
            + (f" ({where.left_out} left out: runs are missing there)" if where.left_out else "")
            + ", seed by seed"
            + ("; gray lines are the settings." if settings > 1 else ".")
        )
        drawn = [measure for measure in (*analysis.compared, *measures.ROUTING) if measure in along]
        page.show(
            f"levels {names[axis]}",
            plots.levels([along[measure] for measure in drawn[:6]], ticks, names[axis]),
            f"Means and intervals of {', '.join(measure.label for measure in drawn[:6])} by {names[axis]}",
        )
        rows = tables.level_rows([along[measure] for measure in drawn], ticks, where.baseline, names[axis])
        page.add(markup.table(rows))
        for measure in analysis.compared:
            if measure in along:
                comparison, baseline = along[measure].comparison, along[measure].contexts.baseline
                reference = escape(f"{names[axis]} {ticks[baseline]}")
                page.add(f"{measure.label} against {reference}, paired by seed:")
                page.add(
                    markup.table(tables.comparison_rows(measure, comparison, ticks, baseline, names[axis]))
                )
        _curves(study, axis, where, ticks, page)


def heat_maps(analysis: Analysis, page: Page) -> None:
    """Strength against temperature for each routing: clustering and bound."""
    study = analysis.study
    if any(len(study.axes.get(axis, ())) < 2 for axis in (STRENGTH, TEMPERATURE)):
        return
    names = tables.words(study.axes)
    others = [axis for axis in study.axes if axis not in (STRENGTH, TEMPERATURE)]
    panels = [
        dict(zip(others, values, strict=True)) for values in product(*(study.axes[axis] for axis in others))
    ]
    grids = {
        measure: {
            ", ".join(f"{names[axis]} {tables.show(value)}" for axis, value in fixed.items()): grid
            for fixed in panels
            if np.isfinite(grid := _grid(study, measure, fixed)).sum() > 1
        }
        for measure in analysis.compared
    }
    if not any(grids.values()):
        return
    page.head("Strength against temperature")
    for measure, drawn in grids.items():
        for part in range(0, len(drawn), 8):
            page.show(
                f"heat {measure.label} {part // 8 + 1 if len(drawn) > 8 else ''}",
                plots.heat_maps(
                    dict(list(drawn.items())[part : part + 8]),
                    measure,
                    [tables.show(value) for value in study.axes[STRENGTH]],
                    [tables.show(value) for value in study.axes[TEMPERATURE]],
                    (names[STRENGTH], names[TEMPERATURE]),
                ),
                f"Mean {measure.heading} by {names[STRENGTH]} and {names[TEMPERATURE]}",
            )


def _curves(study: Study, axis: str, where: effects.Contexts, ticks: list[str], page: Page) -> None:
    if len(ticks) > len(plots.MARKERS):
        return
    panels = {}
    for name, title in (("mixture_elbo", "validation ELBO (nats)"), ("nmi", "validation NMI")):
        epochs, curves = study.curves(name)
        values = curves[:, where.cells].mean(axis=1)  # [seeds, levels, E]
        if not np.isfinite(values).any():
            continue
        lines = [(stats.means(level), *stats.intervals(level)) for level in values.swapaxes(0, 1)]
        panels[title] = (epochs, lines)
    if panels:
        words = tables.words(study.axes)[axis]
        page.show(
            f"curves {words}",
            plots.curves(panels, ticks, words),
            f"Learning curves by {words}: mean over seeds and 95 % band",
        )


def _grid(study: Study, measure: Measure, fixed: dict[str, object]) -> np.ndarray:
    means = stats.means(study.matrix(measure.key))
    strengths, temperatures = list(study.axes[STRENGTH]), list(study.axes[TEMPERATURE])
    grid = np.full((len(strengths), len(temperatures)), np.nan)
    for cell in range(len(study.cells)):
        if all(study.value(cell, axis) == value for axis, value in fixed.items()):
            row = strengths.index(study.value(cell, STRENGTH))
            grid[row, temperatures.index(study.value(cell, TEMPERATURE))] = means[cell]
    return grid
