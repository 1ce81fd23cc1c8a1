"""Style of all figures, reproducible files of them, and labeled grids of images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

STYLE: dict[str, Any] = {
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.facecolor": "white",
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "text.parse_math": False,  # names come from users and may contain a dollar sign
    "image.cmap": "cividis",
    "svg.hashsalt": "moevae",  # the same figure gives the same bytes
    "pdf.fonttype": 42,  # fonts that journals accept
}
"""A white background, so that figures look the same in a dark theme; text that is legible on a phone."""

MAX_INCHES = 20.0
"""Largest side of a figure, in inches."""
MAX_RATIO = 4.0
"""Largest ratio of the sides of a small image in a grid."""


def style() -> AbstractContextManager[None]:
    """Return a context with the defaults of matplotlib and `STYLE`, without the settings of the user."""
    return matplotlib.style.context(["default", STYLE], after_reset=True)


def canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes.

    Args:
        size: width and height, in inches.
    """
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


VECTOR: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Formats other than PNG, with metadata that keep the time out of the file."""

_formats: ContextVar[tuple[str, ...]] = ContextVar("formats", default=())


@dataclass(frozen=True)
class Drawn:
    """A drawn figure."""

    image: Image.Image
    """Its pixels."""
    others: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of files by format, see `VECTOR`."""

    @cached_property
    def png(self) -> bytes:
        """The content of a PNG file with at most 256 colors, which halves the file, as figures have few."""
        content = io.BytesIO()
        self.image.quantize(256, dither=Image.Dither.NONE).save(content, format="PNG")
        return content.getvalue()


@contextmanager
def also_as(formats: Sequence[str]) -> Iterator[None]:
    """Return a context in which `draw` also encodes figures in other formats, keys of `VECTOR`.

    Args:
        formats: names of formats.
    """
    token = _formats.set(tuple(formats))
    try:
        yield
    finally:
        _formats.reset(token)


def draw(figure: Figure) -> Drawn:
    """Draw a figure. The same figure gives the same bytes: files have no name of a program and no time.

    A side longer than `MAX_INCHES` is reduced to it.

    Args:
        figure: the figure.

    Returns:
        The figure as pixels, and in the formats of `also_as`.
    """
    figure.set_size_inches(np.minimum(figure.get_size_inches(), MAX_INCHES))
    # The layout is computed once, here; saving would compute it again.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine(None)
    agg = FigureCanvasAgg(figure)
    agg.draw()
    image = Image.fromarray(np.asarray(agg.buffer_rgba())).convert("RGB")
    return Drawn(image, {name: _vector(figure, name) for name in _formats.get()})


def _vector(figure: Figure, name: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=name, metadata=VECTOR[name])
    return content.getvalue()


def stacked(figures: Sequence[Drawn]) -> Drawn:
    """Stack figures from top to bottom, aligned on the left.

    Args:
        figures: the figures; their other formats are not stacked.
    """
    if len(figures) == 1:
        return figures[0]
    images = [figure.image for figure in figures]
    whole = Image.new(
        "RGB", (max(image.width for image in images), sum(image.height for image in images)), "white"
    )
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    return Drawn(whole)


def bare(place: Axes) -> None:
    """Remove the frame and the ticks, but keep the tick labels."""
    place.spines[:].set_visible(False)
    place.tick_params(length=0)


def annotate(place: Axes, row: int, column: int, text: str, shade: float) -> None:
    """Write text into a cell of an image.

    Args:
        place: axes of the image.
        row: row of the cell.
        column: column of the cell.
        text: the text.
        shade: position of the cell's color on the color scale, in [0, 1].
    """
    place.text(
        column, row, text, ha="center", va="center", fontsize=9.5, color="white" if shade < 0.55 else "black"
    )


def labeled(
    content: bytes,
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    title: str = "",
    notes: Sequence[Sequence[str]] = (),
) -> Drawn:
    """Add labels to a grid of small images.

    Args:
        content: the grid, a PNG file.
        rows: labels of the rows.
        columns: labels of the columns.
        names: names of the vertical and of the horizontal axis.
        title: title of the figure.
        notes: text in the corner of each image, by row and column; empty writes nothing.

    Returns:
        The figure.
    """
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    height, width = image.shape[0] / len(rows), image.shape[1] / len(columns)
    side = min(0.55, 5.4 / len(columns))
    ratio = min(max(height / width, 1 / MAX_RATIO), MAX_RATIO)
    with style():
        size = (
            0.8 + 0.07 * max(map(len, rows)) + side * len(columns),
            max(0.7 + side * ratio * len(rows), 2.2 if title else 0),
        )
        figure, place = canvas(size)
        aspect: Literal["equal", "auto"] = "equal" if ratio == height / width else "auto"
        place.imshow(image, cmap="gray", interpolation="nearest", vmin=0, vmax=255, aspect=aspect)
        every = max(1, len(columns) // 20)
        places = [width * (index + 0.5) - 0.5 for index in range(len(columns))]
        place.set_xticks(places[::every], columns[::every])
        place.set_yticks([height * (index + 0.5) - 0.5 for index in range(len(rows))], rows)
        place.set(ylabel=names[0], xlabel=names[1], title=title)
        for index in range(1, len(columns)):
            place.axvline(width * index - 0.5, color="white", linewidth=1.5)
        for index in range(1, len(rows)):
            place.axhline(height * index - 0.5, color="white", linewidth=1.5)
        for row, texts in enumerate(notes):
            for column, text in enumerate(texts):
                corner = (width * (column + 1) - 1, height * (row + 1) - 1)
                place.annotate(text, corner, ha="right", va="bottom", color="orange", size=72 * side / 5)
        bare(place)
        return draw(figure)
