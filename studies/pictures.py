"""Figures of one run: what its experts draw, what they make of images, which classes they take."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from studies.plots import BLUE, GRAY, annotate, canvas, png, style


def tiles(content: bytes, rows: Sequence[str], columns: Sequence[str], names: tuple[str, str]) -> bytes:
    """Draw a grid of small images with its labels; `names` say what rows and columns are."""
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    height, width = image.shape[0] / len(rows), image.shape[1] / len(columns)
    side = min(0.55, 5.4 / len(columns))
    with style():
        size = (
            0.8 + 0.07 * max(map(len, rows)) + side * len(columns),
            0.7 + side * height / width * len(rows),
        )
        figure, place = canvas(size)
        place.imshow(image, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
        every = max(1, len(columns) // 20)
        places = [width * (index + 0.5) - 0.5 for index in range(len(columns))]
        place.set_xticks(places[::every], columns[::every])
        place.set_yticks([height * (index + 0.5) - 0.5 for index in range(len(rows))], rows)
        place.set(ylabel=names[0], xlabel=names[1])
        for index in range(1, len(columns)):
            place.axvline(width * index - 0.5, color="white", linewidth=1.5)
        for index in range(1, len(rows)):
            place.axhline(height * index - 0.5, color="white", linewidth=1.5)
        _bare(place)
        return png(figure)


def confusion(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """Draw [experts, classes] counts of test images; each row is colored by its shares and stands where its
    largest class does, so that good clusters make a diagonal."""
    shares, order = _shares(counts), _diagonal(counts)
    with style():
        figure, place = canvas((1.2 + 0.5 * len(classes), 1.1 + 0.34 * len(counts)))
        place.imshow(shares[order], vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(counts[order]):
            if count and counts.size <= 900:
                annotate(place, row, column, f"{int(count)}", shares[order][row, column])
        turned = 45 if max(map(len, classes), default=0) > 3 else 0
        place.set_xticks(range(len(classes)), classes, rotation=turned, ha="right" if turned else "center")
        place.set_yticks(range(len(order)), [str(expert) for expert in order])
        place.set(xlabel="class", ylabel="expert")
        _bare(place)
        return png(figure)


def confusions(by_epoch: Mapping[int, np.ndarray], classes: Sequence[str]) -> bytes:
    """Draw [experts, classes] counts, a panel an epoch, experts in the order of the last."""
    order = _diagonal(list(by_epoch.values())[-1])
    wide = min(3, len(by_epoch))
    tall = -(-len(by_epoch) // wide)
    with style():
        side = (0.6 + 0.17 * len(classes), 0.75 + 0.17 * len(order))
        figure = Figure(figsize=(0.4 + wide * side[0], 0.3 + tall * side[1]), layout="constrained")
        places = figure.subplots(tall, wide, squeeze=False, sharex=True, sharey=True)
        for place, (epoch, counts) in zip(places.flat, by_epoch.items(), strict=False):
            place.imshow(_shares(counts)[order], vmin=0, vmax=1, aspect="auto")
            place.set_title(f"epoch {epoch}")
            turned = 90 if max(map(len, classes), default=0) > 1 else 0
            place.set_xticks(range(len(classes)), classes, rotation=turned, fontsize=9)
            place.set_yticks(range(len(order)), [str(expert) for expert in order], fontsize=9)
            _bare(place)
        for place in places.flat[len(by_epoch) :]:
            place.set_axis_off()
        figure.supylabel("expert", fontsize=12)
        figure.supxlabel("class", fontsize=12)
        return png(figure)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Return the share of each class in what each expert won, [K, C]; 0 for an expert without images."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def _diagonal(counts: np.ndarray) -> np.ndarray:
    """Return the experts by their largest class, those without images last."""
    largest = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), counts.shape[1])
    return np.lexsort((-_shares(counts).max(axis=1), largest))


def reliability(images: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray) -> bytes:
    """Draw how often a gate is right beside how sure it is, a point a bin; its area grows with the images."""
    there = images > 0
    with style():
        figure, place = canvas((4.2, 4.0))
        place.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle="--", label="calibrated")
        place.plot(confidence[there], accuracy[there], color=BLUE, linewidth=1.5)
        share = images[there] / images.sum()
        place.scatter(
            confidence[there], accuracy[there], 12 + 300 * share, color=BLUE, alpha=0.7, label="gate"
        )
        place.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        place.legend(frameon=False, loc="upper left")
        return png(figure)


def _bare(place: Any) -> None:
    place.spines[:].set_visible(False)
    place.tick_params(length=0)
