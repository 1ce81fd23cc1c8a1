"""The report's figures: numbers and pictures in, PNG bytes out, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from studies.measures import Measure

STYLE: dict[str, Any] = {
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.cmap": "cividis",
}
"""White behind all, so that a dark theme changes nothing; colors that color-blind people tell apart."""

MISSING = "#d9d9d9"


def style() -> AbstractContextManager[None]:
    """Return the context for making and saving a figure: the defaults and `STYLE`, no user's settings."""
    return matplotlib.style.context(["default", STYLE], after_reset=True)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG that names neither program nor time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def heat_maps(
    panels: Mapping[str, np.ndarray],
    measure: Measure,
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
) -> bytes:
    """Draw [rows, columns] means side by side on one scale; a cell without runs is gray and crossed out."""
    values = np.concatenate([panel.ravel() for panel in panels.values()])
    present = values[np.isfinite(values)]
    low, high = (present.min(), present.max()) if present.size else (0.0, 1.0)
    wide = max(2, min(3, len(panels))) if len(panels) > 1 else 1
    tall = -(-len(panels) // wide)
    with style():
        size = (1.3 + wide * (1.0 + 0.75 * len(columns)), 0.5 + tall * (1.1 + 0.5 * len(rows)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(tall, wide, squeeze=False)
        image = None
        for place, (title, panel) in zip(axes.flat, panels.items(), strict=False):
            place.set_facecolor(MISSING)
            image = place.imshow(np.ma.masked_invalid(panel), vmin=low, vmax=high, aspect="auto")
            for (row, column), value in np.ndenumerate(panel):
                _annotate(
                    place, row, column, measure.show(value) if np.isfinite(value) else "×", value, low, high
                )
            place.set_xticks(range(len(columns)), columns)
            place.set_yticks(range(len(rows)), rows)
            place.set(title=title, ylabel=names[0], xlabel=names[1])
            place.spines[:].set_visible(False)
            place.tick_params(length=0)
        for place in axes.flat[len(panels) :]:
            place.set_axis_off()
        if image is not None:
            figure.colorbar(image, ax=axes, label=measure.heading, shrink=0.9, aspect=25)
        return png(figure)


def expert_tiles(content: bytes, rows: Sequence[str], columns: Sequence[str]) -> bytes:
    """Draw a grid of samples with its labels: a column an expert, a row an epoch."""
    tiles = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    height, width = tiles.shape[0] / len(rows), tiles.shape[1] / len(columns)
    with style():
        figure = Figure(figsize=(0.7 + 0.55 * len(columns), 0.75 + 0.55 * len(rows)), layout="constrained")
        place = figure.subplots()
        place.imshow(tiles, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
        place.set_xticks([width * (index + 0.5) - 0.5 for index in range(len(columns))], columns)
        place.set_yticks([height * (index + 0.5) - 0.5 for index in range(len(rows))], rows)
        place.set(xlabel="expert", ylabel="epoch")
        for index in range(1, len(columns)):
            place.axvline(width * index - 0.5, color="white", linewidth=1.5)
        for index in range(1, len(rows)):
            place.axhline(height * index - 0.5, color="white", linewidth=1.5)
        place.spines[:].set_visible(False)
        place.tick_params(length=0)
        return png(figure)


def confusion(counts: np.ndarray, classes: Sequence[str], experts: Sequence[str]) -> bytes:
    """Draw [experts, classes] counts of test images, each row colored by its shares."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    with style():
        size = (1.6 + 0.52 * len(classes), 1.0 + 0.36 * len(experts))
        figure = Figure(figsize=size, layout="constrained")
        place = figure.subplots()
        place.imshow(shares, vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            if count:
                _annotate(place, row, column, f"{int(count)}", shares[row, column], 0.0, 1.0)
        turned = 45 if max(map(len, classes), default=0) > 4 else 0
        place.set_xticks(range(len(classes)), classes, rotation=turned, ha="right" if turned else "center")
        place.set_yticks(range(len(experts)), experts)
        place.set(xlabel="class", ylabel="expert")
        place.spines[:].set_visible(False)
        place.tick_params(length=0)
        return png(figure)


def _annotate(place: Any, row: int, column: int, text: str, value: float, low: float, high: float) -> None:
    bright = np.isfinite(value) and high > low and (value - low) / (high - low) > 0.55
    dark_on_light = bright or not np.isfinite(value)
    place.text(
        column, row, text, ha="center", va="center", fontsize=8, color="black" if dark_on_light else "white"
    )
