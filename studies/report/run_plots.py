"""Figures of one run: pictures, confusion of experts and classes, and calibration of the gate."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from moevae.data.classes import largest
from moevae.visualization.style import bare, canvas, labeled, png, style
from studies.records.packed import read_picture
from studies.records.schema import PICTURE_LIMIT, Picture
from studies.report.plots import BLUE, GRAY, annotate

LONGEST_LABEL = 100
"""Largest number of characters in a label of a row or column."""
MAX_PIXELS = 1 << 26


def grid(folder: Path, picture: Picture, names: tuple[str, str]) -> bytes | None:
    """Draw a picture of a record with labels of rows and columns.

    Args:
        folder: folder of the records.
        picture: description of the picture in the record.
        names: names of the row and the column axis.

    Returns:
        PNG bytes; None if the file is not a grid of tiles as described.
    """
    size = (len(picture.columns) * picture.tile[1], len(picture.rows) * picture.tile[0])
    if max(map(len, (*picture.rows, *picture.columns))) > LONGEST_LABEL or math.prod(size) > MAX_PIXELS:
        return None
    try:
        content = read_picture(folder, picture.file, PICTURE_LIMIT)
        with (
            warnings.catch_warnings(action="error"),
            Image.open(io.BytesIO(content), formats=["PNG"]) as image,
        ):
            if image.size != size:
                return None
            image.load()
    except Exception:  # Pillow may fail in any way on a hostile file
        return None
    return labeled(content, picture.rows, picture.columns, names)


MOST_TICKS = 50
"""Largest number of tick labels of experts."""
COLOR_KEY = "share of row"
MOST_LETTERS = 16
"""Largest number of characters of a class name."""


def confusion(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """Draw the confusion of experts and classes.

    Rows are colored by their shares and ordered by their largest class, so that good clusters form a
    diagonal. Only the largest of many classes are drawn.

    Args:
        counts: number of test images, [experts, classes].
        classes: names of classes.
    """
    kept = largest(counts)
    words = f"class (the {len(kept)} largest of {len(classes):,})" if len(kept) < len(classes) else "class"
    classes = _names(classes, kept)
    shares, order = _shares(counts)[:, kept], _diagonal(counts)
    counts = counts[:, kept]
    with style():
        figure, place = canvas((2.2 + 0.5 * len(classes), 1.1 + 0.34 * len(counts)))
        drawn = place.imshow(shares[order], vmin=0, vmax=1, aspect="auto")
        figure.colorbar(drawn, ax=place).set_label(COLOR_KEY, fontsize=9)
        for (row, column), count in np.ndenumerate(counts[order]):
            if count and counts.size <= 900:
                annotate(place, row, column, f"{int(count)}", shares[order][row, column])
        turned = 45 if max(map(len, classes), default=0) > 3 else 0
        place.set_xticks(range(len(classes)), classes, rotation=turned, ha="right" if turned else "center")
        every = -(-len(order) // MOST_TICKS)
        place.set_yticks(range(0, len(order), every), [str(expert) for expert in order[::every]])
        place.set(xlabel=words, ylabel="expert", title="test images")
        bare(place)
        return png(figure)


def confusions(
    by_epoch: Mapping[int, np.ndarray], classes: Sequence[str], ordered_as: np.ndarray | None = None
) -> bytes:
    """Draw confusions over training, one panel per epoch, with the experts in one order.

    Args:
        by_epoch: counts by epoch, [experts, classes] each.
        classes: names of classes.
        ordered_as: counts whose `confusion` has the order of the experts and the classes, [experts, classes];
            None orders by the last epoch.
    """
    first = list(by_epoch.values())[-1] if ordered_as is None else ordered_as
    order, kept = _diagonal(first), largest(first)
    classes = _names(classes, kept)
    words = 0.075 * max(map(len, classes), default=0)  # height of rotated names in inches
    wide = min(3, len(by_epoch))
    tall = -(-len(by_epoch) // wide)
    with style():
        side = (0.6 + 0.17 * len(classes), max(0.75 + 0.17 * len(order), words + 0.9))
        figure = Figure(figsize=(1.4 + wide * side[0], 0.55 + tall * side[1]), layout="constrained")
        places = figure.subplots(tall, wide, squeeze=False, sharex=True, sharey=True)
        for place, (epoch, counts) in zip(places.flat, by_epoch.items(), strict=False):
            drawn = place.imshow(_shares(counts)[order][:, kept], vmin=0, vmax=1, aspect="auto")
            place.set_title(f"epoch {epoch}")
            turned = 90 if max(map(len, classes), default=0) > 1 else 0
            place.set_xticks(range(len(classes)), classes, rotation=turned, fontsize=9)
            every = -(-len(order) // MOST_TICKS)
            names = [str(expert) for expert in order[::every]]
            place.set_yticks(range(0, len(order), every), names, fontsize=9)
            bare(place)
        for place in places.flat[len(by_epoch) :]:
            place.set_axis_off()
        figure.colorbar(drawn, ax=places).set_label(COLOR_KEY, fontsize=9)
        figure.suptitle("validation images", fontsize=12)
        figure.supylabel("expert", fontsize=12)
        figure.supxlabel("class", fontsize=12)
        return png(figure)


def _names(classes: Sequence[str], kept: np.ndarray) -> list[str]:
    """Return the names of the drawn classes, truncated to `MOST_LETTERS`."""
    names = (classes[place] for place in kept)
    return [name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…" for name in names]


def _shares(counts: np.ndarray) -> np.ndarray:
    """Return the share of each class among the images of each expert, [K, C]; 0 without images."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def _diagonal(counts: np.ndarray) -> np.ndarray:
    """Return the order of experts by their largest class, with experts without images last, [K]."""
    largest = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), counts.shape[1])
    return np.lexsort((-_shares(counts).max(axis=1), largest))


def reliability(images: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray) -> bytes:
    """Draw a reliability diagram with one point per bin, whose area grows with the number of images.

    Args:
        images: number of images, [bins].
        confidence: mean confidence, [bins].
        accuracy: accuracy, [bins].
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
        return png(figure)
