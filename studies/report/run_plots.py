"""Figures of one run: pictures and maps of its record, and calibration of the gate."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from moevae.visualization import maps
from moevae.visualization.style import Drawn, canvas, draw, labeled, style
from studies.records.packed import read_picture
from studies.records.schema import PICTURE_LIMIT, Picture
from studies.report.plots import BLUE, GRAY

MAX_LABEL_LENGTH = 100
"""Largest number of characters in a label of a row or column."""
MAX_EXPERTS = 10**6
MAX_PIXELS = 1 << 26


def grid(
    folder: Path, picture: Picture, names: tuple[str, str], order: Sequence[int] | None = None
) -> Drawn | None:
    """Draw a picture of a record with labels of rows and columns.

    Args:
        folder: folder of the records.
        picture: description of the picture in the record.
        names: names of the row and the column axis. If the record names the expert of each column, the
            columns show it.
        order: order of the columns; None keeps that of the picture.

    Returns:
        The figure; None if the file is not a grid of tiles as described.
    """
    pixels = _pixels(folder, picture)
    if pixels is None:
        return None
    columns = picture.columns
    if picture.experts is not None:
        columns, names = [str(expert) for expert in picture.experts], (names[0], "expert")
    if order is not None and sorted(order) == list(range(len(columns))):
        tiles = pixels.reshape(len(pixels), len(columns), -1)  # [height, columns, width of a tile]
        pixels, columns = tiles[:, order].reshape(pixels.shape), [columns[place] for place in order]
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return labeled(content.getvalue(), picture.rows, columns, names)


def latent_map(folder: Path, picture: Picture, experts: int, classes: Sequence[str]) -> Drawn | None:
    """Draw the map of a record, colored by expert and by class.

    Args:
        folder: folder of the records.
        picture: description of the map in the record.
        experts: number of experts.
        classes: names of classes; empty without labels.

    Returns:
        The figure; None if the file is not such a map.
    """
    pixels = _pixels(folder, picture)
    if pixels is None or picture.rows[:3] != ["x", "y", "expert"] or len(pixels) != len(picture.rows):
        return None
    places, groups = pixels[:2].T.astype(float), pixels[2:].astype(int)
    names = {"expert": [str(expert) for expert in range(experts)], "class": list(classes)}
    panels = [
        (name, group, names[name])
        for name, group in zip(picture.rows[2:], groups, strict=True)
        if name in names and group.max(initial=0) < max(1, len(names[name]))
    ]
    title = f"{len(places):,} test images by their latents under all experts ({method(picture)})"
    return maps.draw(places, panels, title) if panels else None


def method(picture: Picture) -> str:
    """Return the name of the projection of a map; older records have maps by PCA only."""
    return (picture.method or "pca").upper()


def _pixels(folder: Path, picture: Picture) -> np.ndarray | None:
    """Return the gray levels of a picture, [H, W]; None if the file is not as described."""
    size = (len(picture.columns) * picture.tile[1], len(picture.rows) * picture.tile[0])
    if max(map(len, (*picture.rows, *picture.columns))) > MAX_LABEL_LENGTH or math.prod(size) > MAX_PIXELS:
        return None
    if picture.experts is not None and (
        len(picture.experts) != len(picture.columns)
        or not all(0 <= expert < MAX_EXPERTS for expert in picture.experts)
    ):
        return None
    try:
        content = read_picture(folder, picture.file, PICTURE_LIMIT)
        with (
            warnings.catch_warnings(action="error"),
            Image.open(io.BytesIO(content), formats=["PNG"]) as image,
        ):
            return np.asarray(image.convert("L")) if image.size == size else None
    except Exception:  # Pillow may fail in any way on a hostile file
        return None


def reliability(images: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray) -> Drawn:
    """Draw a reliability diagram with one point per bin, whose area grows with the number of images.

    Args:
        images: number of images, [bins].
        confidence: mean confidence, [bins].
        accuracy: accuracy, [bins].

    Returns:
        The figure.
    """
    there = images > 0
    with style():
        figure, place = canvas((4.2, 4.0))
        place.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle="--", label="calibrated")
        place.plot(confidence[there], accuracy[there], color=BLUE, linewidth=1.5)
        share = images[there] / images.sum()
        size = 12 + 300 * share
        place.scatter(
            confidence[there], accuracy[there], size, color=BLUE, alpha=0.7, label="gate", clip_on=False
        )
        place.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        place.legend(frameon=False, loc="upper left")
        return draw(figure)
