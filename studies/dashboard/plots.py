"""Plots of the dashboard: analysis of variance, and balance weight against temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from studies.analysis import cell_stats, effects
from studies.analysis.metrics import ELBO, NMI, Measure
from studies.analysis.study import Study
from studies.report import tables
from studies.statistics import stats

STRENGTH, TEMPERATURE = "objective.balance_weight", "routing.temperature"

MAX_PANELS = 4
MAX_LEVELS = 10
"""Levels of an axis drawn as a grid; with more levels, as in a search, each cell is a point."""


def strength(study: Study, measure: Measure) -> go.Figure | None:
    """Plot the mean of each cell by balance weight and temperature, one panel per setting of the other axes.

    A study without these two axes uses its first two numeric axes.

    Args:
        study: a study of one data set.
        measure: what is plotted.

    Returns:
        The figure; None if the study has fewer than two numeric axes or no values.
    """
    axes = _axes(study)
    mean = stats.means(study.matrix(measure.key))
    if axes is None or not np.isfinite(mean).any():
        return None
    panels = _panels(study, axes) if all(len(study.axes[axis]) <= MAX_LEVELS for axis in axes) else {}
    gridded = 0 < len(panels) <= MAX_PANELS
    if not gridded:
        panels = {"": list(range(len(study.cells)))}
    figure = make_subplots(1, len(panels), subplot_titles=list(panels), shared_yaxes=True)
    draw = _grid if gridded else _points
    for column, cells in enumerate(panels.values(), start=1):
        figure.add_trace(draw(study, axes, cells, mean, measure), row=1, col=column)
    names = tables.axis_names(study.axes)
    kind = {"type": "category"} if gridded else {}
    for place, axis in ((figure.update_xaxes, axes[0]), (figure.update_yaxes, axes[1])):
        log = {} if gridded or min(study.axes[axis]) <= 0 else {"type": "log"}
        place(**kind, **log, ticks="outside")
    figure.update_xaxes(title=names[axes[0]])
    figure.update_yaxes(title=names[axes[1]], col=1)
    figure.update_layout(
        title=f"{measure.heading}, mean over seeds: {names[axes[0]]} against {names[axes[1]]}",
        coloraxis={"colorscale": "Cividis", "colorbar": {"title": measure.label}},
        template="none",
        margin={"t": 90},
    )
    return figure


def shares(study: Study) -> go.Figure | None:
    """Plot the analysis of variance: partial η² with 95 % intervals; None without a full grid.

    Args:
        study: the study.
    """
    found = {measure: effects.variance(study, measure) for measure in cell_stats.measured(study, (NMI, ELBO))}
    known = {measure: result for measure, result in found.items() if result is not None}
    if not known:
        return None
    names = [tables.axis_names(study.axes)[axis] for axis in effects.varied(study)]
    figure = go.Figure()
    for measure, result in known.items():
        size = [effect.partial_eta_squared for effect in result.effects]
        figure.add_bar(
            orientation="h",
            name=f"{measure.label} (n = {result.n})",
            x=size,
            y=[" × ".join(names[axis] for axis in effect.axes) for effect in result.effects],
            error_x={
                "array": [effect.high - share for effect, share in zip(result.effects, size, strict=True)],
                "arrayminus": [
                    share - effect.low for effect, share in zip(result.effects, size, strict=True)
                ],
            },
        )
    figure.update_xaxes(title="partial η² (share of variance)", range=[0, 1])
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_layout(title="Analysis of variance over all runs, as in the report", template="none")
    return figure


def _axes(study: Study) -> tuple[str, str] | None:
    numeric = [
        axis
        for axis, values in study.axes.items()
        if len(values) > 1
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    ]
    if {STRENGTH, TEMPERATURE} <= set(numeric):
        return STRENGTH, TEMPERATURE
    return (numeric[0], numeric[1]) if len(numeric) > 1 else None


def _panels(study: Study, axes: tuple[str, str]) -> Mapping[str, list[int]]:
    """Group cells by a text of their values on the other axes."""
    names = tables.axis_names(study.axes)
    others = [axis for axis in study.axes if axis not in axes and len(study.axes[axis]) > 1]
    found: dict[str, list[int]] = {}
    for cell in range(len(study.cells)):
        words = ", ".join(f"{names[axis]} {study.text(cell, axis)}" for axis in others)
        found.setdefault(words, []).append(cell)
    return found


def _grid(
    study: Study, axes: tuple[str, str], cells: list[int], mean: np.ndarray, measure: Measure
) -> go.Heatmap:
    x, y = (study.texts[axis] for axis in axes)
    z: list[list[float | None]] = [[None] * len(x) for _ in y]
    for cell in cells:
        column, row = (study.axes[axis].index(study.value(cell, axis)) for axis in axes)
        z[row][column] = float(mean[cell]) if np.isfinite(mean[cell]) else None
    return go.Heatmap(
        x=x, y=y, z=z, coloraxis="coloraxis", texttemplate=f"%{{z:.{measure.digits}f}}", hoverongaps=False
    )


def _points(
    study: Study, axes: tuple[str, str], cells: list[int], mean: np.ndarray, measure: Measure
) -> go.Scatter:
    known = [cell for cell in cells if np.isfinite(mean[cell])]
    x, y = ([study.value(cell, axis) for cell in known] for axis in axes)
    marker: dict[str, Any] = {
        "color": [float(mean[cell]) for cell in known],
        "coloraxis": "coloraxis",
        "size": 11,
    }
    words = [f"cell {cell_stats.label(study, cell)}: {tables.describe(study, cell)}" for cell in known]
    shown = f"%{{text}}<br>{measure.heading} %{{marker.color:.{measure.digits}f}}<extra></extra>"
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, text=words, hovertemplate=shown)
