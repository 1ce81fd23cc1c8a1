"""Figures with words: how all of them look, PNG bytes that are the same every time, and labeled grids."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
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
    "text.parse_math": False,  # names are the user's: a dollar sign is one
    "image.cmap": "cividis",
}
"""White behind all, so that a dark theme changes nothing; large enough for a phone."""

LONGEST = 20.0
"""Inches of a figure's side, at most."""
SLIM = 4.0
"""How much longer one side of a small image may be drawn than the other."""


def style() -> AbstractContextManager[None]:
    """Return the context for making and saving a figure: the defaults and `STYLE`, no user's settings."""
    return matplotlib.style.context(["default", STYLE], after_reset=True)


def canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return a figure of that many inches with one place to draw."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG of at most 256 colors that names neither program nor time.

    A side longer than `LONGEST` is cut down to it, whatever was to be drawn.
    """
    figure.set_size_inches(np.minimum(figure.get_size_inches(), LONGEST))
    # Laid out here, once: saving would do it again.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine(None)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    # Half the size: a page of results is kept for good, and its figures have few colors.
    few = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    content = io.BytesIO()
    few.save(content, format="PNG")
    return content.getvalue()


def bare(place: Axes) -> None:
    """Take away the frame and the ticks, but not their words."""
    place.spines[:].set_visible(False)
    place.tick_params(length=0)


def labeled(
    content: bytes, rows: Sequence[str], columns: Sequence[str], names: tuple[str, str], title: str = ""
) -> bytes:
    """Return a grid of small images, a PNG, with its labels; `names` say what rows and columns are."""
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    height, width = image.shape[0] / len(rows), image.shape[1] / len(columns)
    side = min(0.55, 5.4 / len(columns))
    ratio = min(max(height / width, 1 / SLIM), SLIM)
    with style():
        size = (
            0.8 + 0.07 * max(map(len, rows)) + side * len(columns),
            0.7 + side * ratio * len(rows),
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
        bare(place)
        return png(figure)
