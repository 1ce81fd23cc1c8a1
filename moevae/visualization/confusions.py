"""Confusion of experts and classes: colored shares, with the experts in the order of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from moevae.data.classes import largest
from moevae.visualization import style

MAX_TICKS = 50
"""Largest number of tick labels of experts."""
COLOR_KEY = "share of row"
MAX_NAME_LENGTH = 16
"""Largest number of characters of a class name."""


def confusion(counts: np.ndarray, classes: Sequence[str]) -> style.Drawn:
    """Draw the confusion of experts and classes.

    Rows are colored by their shares and ordered by their largest class, so that good clusters form a
    diagonal. Only the largest of many classes are drawn.

    Args:
        counts: number of test images, [experts, classes].
        classes: names of classes.

    Returns:
        The figure.
    """
    kept = largest(counts)
    words = f"class (the {len(kept)} largest of {len(classes):,})" if len(kept) < len(classes) else "class"
    classes = _names(classes, kept)
    shares, order = _shares(counts)[:, kept], by_class(counts)
    counts = counts[:, kept]
    with style.style():
        figure, place = style.canvas((2.2 + 0.5 * len(classes), 1.1 + 0.34 * len(counts)))
        drawn = place.imshow(shares[order], vmin=0, vmax=1, aspect="auto")
        figure.colorbar(drawn, ax=place).set_label(COLOR_KEY, fontsize=9)
        for (row, column), count in np.ndenumerate(counts[order]):
            if count and counts.size <= 900:
                style.annotate(place, row, column, f"{int(count)}", shares[order][row, column])
        turned = 45 if max(map(len, classes), default=0) > 3 else 0
        place.set_xticks(range(len(classes)), classes, rotation=turned, ha="right" if turned else "center")
        every = -(-len(order) // MAX_TICKS)
        place.set_yticks(range(0, len(order), every), [str(expert) for expert in order[::every]])
        place.set(xlabel=words, ylabel="expert", title="test images")
        style.bare(place)
        return style.draw(figure)


def confusions(
    by_epoch: Mapping[int, np.ndarray], classes: Sequence[str], ordered_as: np.ndarray | None = None
) -> style.Drawn:
    """Draw confusions over training, one panel per epoch, with the experts in one order.

    Args:
        by_epoch: counts by epoch, [experts, classes] each.
        classes: names of classes.
        ordered_as: counts whose `confusion` has the order of the experts and the classes, [experts, classes];
            None orders by the last epoch.

    Returns:
        The figure.
    """
    first = list(by_epoch.values())[-1] if ordered_as is None else ordered_as
    order, kept = by_class(first), largest(first)
    classes = _names(classes, kept)
    words = 0.075 * max(map(len, classes), default=0)  # height of rotated names in inches
    wide = min(3, len(by_epoch))
    tall = -(-len(by_epoch) // wide)
    with style.style():
        side = (0.6 + 0.17 * len(classes), max(0.75 + 0.17 * len(order), words + 0.9))
        figure = Figure(figsize=(1.4 + wide * side[0], 0.55 + tall * side[1]), layout="constrained")
        places = figure.subplots(tall, wide, squeeze=False, sharex=True, sharey=True)
        for place, (epoch, counts) in zip(places.flat, by_epoch.items(), strict=False):
            drawn = place.imshow(_shares(counts)[order][:, kept], vmin=0, vmax=1, aspect="auto")
            place.set_title(f"epoch {epoch}")
            turned = 90 if max(map(len, classes), default=0) > 1 else 0
            place.set_xticks(range(len(classes)), classes, rotation=turned, fontsize=9)
            every = -(-len(order) // MAX_TICKS)
            names = [str(expert) for expert in order[::every]]
            place.set_yticks(range(0, len(order), every), names, fontsize=9)
            style.bare(place)
        for place in places.flat[len(by_epoch) :]:
            place.set_axis_off()
        figure.colorbar(drawn, ax=places).set_label(COLOR_KEY, fontsize=9)
        figure.suptitle("validation images", fontsize=12)
        figure.supylabel("expert", fontsize=12)
        figure.supxlabel("class", fontsize=12)
        return style.draw(figure)


def _names(classes: Sequence[str], kept: np.ndarray) -> list[str]:
    """Return the names of the drawn classes, truncated to `MAX_NAME_LENGTH`."""
    names = (classes[place] for place in kept)
    return [name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…" for name in names]


def _shares(counts: np.ndarray) -> np.ndarray:
    """Return the share of each class among the images of each expert, [K, C]; 0 without images."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def by_class(counts: np.ndarray) -> np.ndarray:
    """Return the order of experts by their largest class, with experts without images last, [K].

    Args:
        counts: number of images, [experts, classes].
    """
    largest = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), counts.shape[1])
    return np.lexsort((-_shares(counts).max(axis=1), largest))
