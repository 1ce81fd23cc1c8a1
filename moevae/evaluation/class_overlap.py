"""Merged classes, which share an expert, and split classes, which several experts divide.

Labels are used to describe the result only. Counts are numbers of images by expert and class, as
`moevae.evaluation.clustering.confusion` returns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from moevae.data.classes import MAX_SHOWN

MERGED = 0.5
"""An expert holds a class if it wins more than this share of the images of the class."""
SPLIT = 0.25
"""An expert has a part of a class if it wins at least this share of the images of the class."""


def merged(counts: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Return the experts that hold at least two classes, and these classes.

    Args:
        counts: images by expert and class, [K, classes].
    """
    has = _shares_of_classes(counts) > MERGED
    return {int(k): _places(has[k]) for k in np.flatnonzero(has.sum(1) > 1)}


def split(counts: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Return the classes that at least two experts divide, and these experts.

    Args:
        counts: images by expert and class, [K, classes].
    """
    divides = _shares_of_classes(counts) >= SPLIT
    return {int(c): _places(divides[:, c]) for c in np.flatnonzero(divides.sum(0) > 1)}


def describe_overlap(counts: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Describe each merge and each split in one sentence.

    The shares of a merge refer to the images of the expert, those of a split to the images of the class.

    Args:
        counts: images by expert and class, [K, classes].
        classes: names of the classes.

    Returns:
        One sentence per merge and per split.
    """
    loads = counts.sum(1)
    shares = _shares_of_classes(counts)
    merges = [
        f"expert {k} draws {_listed((classes[c], counts[k, c] / loads[k]) for c in together)}"
        for k, together in merged(counts).items()
    ]
    divided = split(counts)
    splits = [
        f"{classes[c]} is split between experts {_listed((k, shares[k, c]) for k in experts)}"
        for c, experts in list(divided.items())[:MAX_SHOWN]
    ]
    more = [f"{len(divided) - MAX_SHOWN} more classes are split"] if len(divided) > MAX_SHOWN else []
    return merges + splits + more


def _shares_of_classes(counts: np.ndarray) -> np.ndarray:
    """Return the share of each class that each expert wins, [K, classes]; 0 for a class without images."""
    return counts / np.maximum(counts.sum(0), 1)


def _places(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _listed(parts: Iterable[tuple[object, float]]) -> str:
    ordered = sorted(parts, key=lambda part: -part[1])
    words = [f"{name} ({share:.0%})" for name, share in ordered[:MAX_SHOWN]]
    if len(ordered) > MAX_SHOWN:
        words.append(f"{len(ordered) - MAX_SHOWN} more")
    return f"{', '.join(words[:-1])} and {words[-1]}"
