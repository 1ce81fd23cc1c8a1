"""Figures of many runs; the same input gives the same bytes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import NullLocator

from moevae.visualization.style import Drawn, annotate, canvas, draw, style
from studies.analysis.effects import AxisEffect
from studies.analysis.metrics import Measure
from studies.statistics.ranks import Ranks
from studies.statistics.stats import Row

BLUE, ORANGE, GRAY, PALE = "#0072B2", "#D55E00", "#767676", "#d9d9d9"
"""Colors of Okabe and Ito, suitable for color-blind readers."""
MARKERS = "osD^vPX*<>"
MINUS = "\N{MINUS SIGN}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MAX_TICKS = 12
"""Largest number of tick labels of an effect."""
MAX_POWERS = 5
"""Largest number of intervals between tick labels that are powers of ten."""
MAX_LINES = 200
"""Largest number of gray lines of settings behind an effect."""
NARROW = 0.02
"""Range of scores below which tick labels are long, so that few of them fit."""


def heat_maps(
    panels: Mapping[str, np.ndarray],
    measure: Measure,
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
) -> Drawn:
    """Draw heat maps of means on a common color scale; cells without runs are gray and crossed out.

    Args:
        panels: means by title, [rows, columns] each.
        measure: the measure.
        rows: labels of rows.
        columns: labels of columns.
        names: labels of the vertical and the horizontal axis.

    Returns:
        The figure.
    """
    values = np.concatenate([panel.ravel() for panel in panels.values()])
    present = values[np.isfinite(values)]
    low, high = (present.min(), present.max()) if present.size else (0.0, 1.0)
    wide = min(len(panels), 2 if len(columns) <= 4 else 1)
    tall = -(-len(panels) // wide)
    dense = values.size > 200
    across, down = (
        (0.3, 0.22) if dense else (0.72, 0.42)
    )  # size of a cell in inches, with or without its number
    with style():
        size = (1.6 + wide * (0.5 + across * len(columns)), 0.4 + tall * (0.9 + down * len(rows)))
        figure = Figure(figsize=size, layout="constrained")
        places = figure.subplots(tall, wide, squeeze=False, sharex=True, sharey=True)
        for place, (title, panel) in zip(places.flat, panels.items(), strict=False):
            place.set_facecolor(PALE)
            image = place.imshow(np.ma.masked_invalid(panel), vmin=low, vmax=high, aspect="auto")
            for (row, column), value in np.ndenumerate(np.empty((0, 0)) if dense else panel):
                shade = (value - low) / (high - low) if high > low else 0.0
                known = bool(np.isfinite(value))
                annotate(place, row, column, measure.show(value) if known else "×", shade if known else 1.0)
            every = 3 if dense else 1
            place.set_xticks(range(0, len(columns), every), columns[::every])
            place.set_yticks(range(0, len(rows), every), rows[::every])
            place.set_title(title)
            place.spines[:].set_visible(False)
            place.tick_params(length=0)
        for place in places.flat[len(panels) :]:
            place.set_axis_off()
        figure.supylabel(names[0], fontsize=12)
        figure.supxlabel(names[1], fontsize=12)
        figure.colorbar(image, ax=places, label=measure.heading, shrink=0.9, aspect=25)
        return draw(figure)


def levels(effects: Sequence[AxisEffect], ticks: Sequence[str], name: str, *, ordered: bool) -> Drawn:
    """Draw mean and interval over seeds by level of an axis, and each setting of the other axes in gray.

    Args:
        effects: effects of the axis, one per measure and panel.
        ticks: labels of the levels.
        name: label of the axis.
        ordered: whether a line connects the means.

    Returns:
        The figure.
    """
    wide = min(2, len(effects))
    tall = -(-len(effects) // wide)
    if len(ticks) <= 4:  # there is room for names of two lines
        ticks = [tick.replace("+", "+\n") for tick in ticks]
    longest = max(len(line) for tick in ticks for line in tick.split("\n"))
    words = 0.06 * max(0, longest - 10)  # height of rotated long names in inches
    once = longest > 20  # such names are shown below the lowest panels only
    with style():
        high = 0.35 + 2.25 * tall + words * (1 if once else tall)
        figure = Figure(figsize=(3.25 * wide + 0.2, high), layout="constrained")
        places = figure.subplots(tall, wide, squeeze=False, sharex=True)
        x = np.arange(len(ticks))
        for number, (place, effect) in enumerate(zip(places.flat, effects, strict=False)):
            if len(effect.means) > 1:
                every = -(-len(effect.means) // MAX_LINES)
                lines = [np.column_stack([x, means]) for means in effect.means[::every]]
                place.add_collection(LineCollection(lines, colors=PALE, linewidths=1, zorder=1))
                place.autoscale_view()
            summary = effect.summary
            if ordered:
                place.plot(x, summary.mean, color=BLUE, linewidth=1.5, zorder=2)
            _bars(place, x, summary.mean, summary.low, summary.high)
            drawn = np.unique(np.concatenate([effect.means.ravel(), summary.low, summary.high]))
            if np.isfinite(drawn).sum() == 1:
                place.set_yticks(drawn[:1])  # a single value needs no other tick
            _decades(place, "y", drawn)
            place.set_title(effect.measure.heading)
            every = -(-len(ticks) // MAX_TICKS)
            turned = longest > 7 or len(ticks[::every]) > 8
            place.set_xticks(
                x[::every], ticks[::every], rotation=40 if turned else 0, ha="right" if turned else "center"
            )
            place.set_xlim(-0.35, len(ticks) - 0.65)
            place.tick_params(labelbottom=not once or number + wide >= len(effects))
        for place in places.flat[len(effects) :]:
            place.set_axis_off()
        figure.supxlabel(name, fontsize=12)
        return draw(figure)


def curves(
    panels: Mapping[str, tuple[Row, Sequence[tuple[Row, Row, Row]]]], names: Sequence[str], title: str
) -> Drawn:
    """Draw learning curves with bands.

    Args:
        panels: by title, the epochs [E] and, per level, mean, lower and upper end [E].
        names: labels of the levels.
        title: title of the legend.

    Returns:
        The figure.
    """
    with style():
        figure = Figure(figsize=(3.25 * len(panels) + 0.2, 3.3), layout="constrained")
        places = figure.subplots(1, len(panels), squeeze=False)
        colors = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(names)))
        for place, (label, (epochs, lines)) in zip(places.flat, panels.items(), strict=True):
            tops = []
            for number, (mean, low, high) in enumerate(lines):
                place.plot(
                    epochs,
                    mean,
                    color=colors[number],
                    label=names[number],
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=4,
                    markevery=(number % 3, 6),
                )
                place.fill_between(epochs, low, high, color=colors[number], alpha=0.2, linewidth=0)
                tops += [end[len(mean) // 4 :] for end in (mean, low, high)]
            shown = np.concatenate(tops)
            shown = shown[np.isfinite(shown)]
            if not _decades(place, "y", shown) and shown.size and np.ptp(shown) > 0:
                place.set_ylim(shown.min() - 0.15 * np.ptp(shown), shown.max() + 0.15 * np.ptp(shown))
            place.set_xscale("log")
            last = int(epochs[-1])
            ticks = [*(tick for tick in (1, 10, 100, 1000) if 2 * tick <= last), last]
            place.set_xticks(ticks, [str(tick) for tick in ticks])
            place.minorticks_off()
            place.set(title=label, xlabel="epoch")
        handles, labels = places.flat[0].get_legend_handles_labels()
        fitting = int(figure.get_figwidth() / (0.8 + 0.1 * max(map(len, names))))  # inches of an entry
        columns = max(1, min(4, len(names), fitting))
        figure.legend(handles, labels, title=title, loc="outside lower center", ncols=columns, frameon=False)
        return draw(figure)


def pareto(
    points: Sequence[tuple[Row, Row, Row]], chosen: Sequence[Measure], names: Sequence[str], front: np.ndarray
) -> Drawn:
    """Draw the first measure against each of the others, with the Pareto front in orange.

    Args:
        points: per measure, mean, lower and upper end [cells].
        chosen: the measures.
        names: labels of cells.
        front: mask of the front, [cells].

    Returns:
        The figure.
    """
    y, *others = points
    with style():
        figure = Figure(figsize=(3.25 * len(others) + 0.2, 3.3), layout="constrained")
        places = figure.subplots(1, len(others), squeeze=False, sharey=True)
        for place, x, measure in zip(places.flat, others, chosen[1:], strict=True):
            for kept, color in ((~front, GRAY), (front, ORANGE)):
                place.errorbar(
                    x[0][kept],
                    y[0][kept],
                    xerr=_bar(x, kept),
                    yerr=_bar(y, kept),
                    fmt="s" if color == ORANGE else "o",
                    color=color,
                    markersize=5,
                    elinewidth=0.8,
                    alpha=1.0 if color == ORANGE else 0.45,
                )
            place.set_xlabel(measure.heading)
            if not _decades(place, "x", np.concatenate(x)):
                place.locator_params(axis="x", nbins=4)
        places.flat[0].set_ylabel(chosen[0].heading)
        figure.draw_without_rendering()  # determines the positions of points
        named = np.flatnonzero(front)[:25]
        for place, x in zip(places.flat, others, strict=True):
            _name(place, x[0][named], y[0][named], [names[cell] for cell in named])
        return draw(figure)


def profiles(
    panels: Mapping[str, Sequence[Row]], names: Sequence[str], dashed: Sequence[bool], title: str
) -> Drawn:
    """Draw performance profiles: the share of runs that reach each score.

    Args:
        panels: by title, the scores of the runs of each line, [n] each.
        names: labels of the lines; lines with the label "" are gray and have no entry in the legend.
        dashed: whether each line is dashed.
        title: title of the legend.

    Returns:
        The figure.
    """
    named = [index for index, name in enumerate(names) if name]
    colors = dict(zip(named, mpl.colormaps["tab10"](np.arange(len(named)) % 10), strict=True))
    with style():
        wide = 3.25 * len(panels) + 0.2
        fitting = int(wide / (0.9 + 0.1 * max(map(len, names), default=0)))
        columns = max(1, min(4, len(named), fitting))
        figure = Figure(figsize=(wide, 3.1 + 0.25 * -(-len(named) // columns)), layout="constrained")
        places = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        for place, (label, lines) in zip(places.flat, panels.items(), strict=True):
            shown = np.concatenate([scores for scores in lines if len(scores)])
            margin = 0.05 * (np.ptp(shown) or 1.0)
            low, high = shown.min() - margin, shown.max() + margin
            for index, scores in enumerate(lines):
                if not len(scores):
                    continue
                reached = np.sort(scores)
                x = np.concatenate([[low], reached, [high]])
                y = np.concatenate([[1], 1 - np.arange(len(reached)) / len(reached), [0]])
                place.step(
                    x,
                    y,
                    where="pre",
                    color=colors.get(index, PALE),
                    zorder=2 if index in colors else 1,
                    linewidth=1.8 if index in colors else 1,
                    linestyle="--" if dashed[index] else "-",
                    label=names[index] or "_",
                )
            place.set(xlabel=label, xlim=(low, high), ylim=(-0.03, 1.03))
            if high - low < NARROW:
                place.locator_params(axis="x", nbins=3)
        places.flat[0].set_ylabel("share of runs")
        handles, labels = places.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, title=title, loc="outside lower center", ncols=columns, frameon=False)
        return draw(figure)


def ranks(found: Ranks, names: Sequence[str], title: str) -> Drawn:
    """Draw the mean rank of each cell, the best on top, above its ranks on each data set in gray.

    Args:
        found: ranks of cells.
        names: labels of the cells.
        title: label of the horizontal axis.

    Returns:
        The figure.
    """
    order = np.argsort(found.mean, kind="stable")
    with style():
        lines = max(name.count("\n") for name in names) + 1
        figure, place = canvas((6.0, 0.9 + (0.1 + 0.2 * lines) * len(order)))
        y = np.arange(len(order))
        for row in found.by_data:
            place.plot(row[order], y, "o", color=PALE, markersize=6, zorder=1)
        half = 0.0 if np.isnan(found.distance) else found.distance / 2
        reach = np.full(len(order), half)
        place.errorbar(found.mean[order], y, xerr=reach if half else None, fmt="o", color=BLUE, zorder=2)
        place.set_yticks(y, [names[cell] for cell in order])
        place.set(ylim=(len(order) - 0.5, -0.5), xlabel=title)
        place.grid(axis="x", color=PALE, linewidth=0.5)
        return draw(figure)


def _name(place: Axes, x: Row, y: Row, names: Sequence[str]) -> None:
    """Write labels next to points from top to bottom, each in the nearest free place within the axes."""
    pixel = place.figure.dpi / 72
    points = place.transData.transform(np.stack([x, y], axis=1)) / pixel
    least, most = place.bbox.y0 / pixel, place.bbox.y1 / pixel
    shifts = sorted(
        ((5, 4), *itertools.product((5, -18, 23, -36), range(-60, 61, 4))),
        key=lambda at: abs(at[0]) + abs(at[1]),
    )
    taken: list[tuple[float, float]] = []
    for index in np.lexsort((points[:, 0], -points[:, 1])):
        spots = [(points[index][0] + right, points[index][1] + up) for right, up in shifts]
        free = (
            (right, up)
            for right, up in spots
            if least <= up <= most - 8
            and not any(abs(right - other) < 18 and abs(up - above) < 11 for other, above in taken)
        )
        spot = next(free, spots[0])
        taken.append(spot)
        offset = spot - points[index]
        place.annotate(names[index], (x[index], y[index]), offset, textcoords="offset points", fontsize=10)


def _bars(place: Axes, x: Row, mean: Row, low: Row, high: Row) -> None:
    place.errorbar(
        x, mean, yerr=_reach((mean, low, high)), fmt="o", color=BLUE, capsize=3, markersize=6, zorder=3
    )


def _decades(place: Axes, axis: Literal["x", "y"], values: Row) -> bool:
    """Use a symmetric log scale if values differ by orders of magnitude; return whether they do."""
    finite = values[np.isfinite(values)]
    sizes = np.abs(finite)
    apart = bool(sizes.size) and sizes.max() >= max(1e3, 10 * np.median(sizes)) and np.median(sizes) >= 1
    if apart:
        small = 10 ** np.floor(np.log10(np.median(sizes)))
        side = place.xaxis if axis == "x" else place.yaxis
        far = 10 ** np.ceil(np.log10(sizes.max()))
        ends = (-far if finite.min() < 0 else 0, far if finite.max() > 0 else 0)
        place.set(**{f"{axis}scale": SymmetricalLogScale(side, linthresh=small), f"{axis}lim": ends})
        side.set_ticks(_powers(ends, small))
        side.set_major_formatter(_power)
        side.set_minor_locator(NullLocator())
    return apart


def _powers(ends: tuple[float, float], small: float) -> list[float]:
    """Return 0 and powers of ten between the ends whose labels do not overlap on a symmetric log scale."""
    # The sides of the axis in decades, of which the first one is linear.
    sides = [(np.sign(end), np.log10(abs(end) / small) + 1) for end in ends if end]
    apart = max(1, np.ceil(sum(long for _, long in sides) / MAX_POWERS))
    far = [
        sign * small * 10 ** (place - 1)
        for sign, long in sides
        for place in np.arange(long, apart - 0.5, -apart)
    ]
    return sorted([0.0, *map(float, far)])


def _power(value: float, _: object = None) -> str:
    """Format a tick of a logarithmic axis as a power of ten."""
    if value == 0:
        return "0"
    exponent = round(np.log10(abs(value)))
    return f"{MINUS if value < 0 else ''}10{str(exponent).translate(_RAISED)}"


def _bar(point: tuple[Row, Row, Row], kept: np.ndarray) -> np.ndarray | None:
    """Return the distances to the ends of the intervals, [2, kept cells]; None if all are 0."""
    reach = _reach(point)[:, kept]
    return reach if reach.any() else None  # thousands of empty bars take a second


def _reach(point: tuple[Row, Row, Row]) -> np.ndarray:
    """Return the distances from the mean to the ends of the interval, [2, cells]; 0 without an interval."""
    mean, low, high = point
    return np.nan_to_num(np.stack([np.maximum(mean - low, 0), np.maximum(high - mean, 0)]))
