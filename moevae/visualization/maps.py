"""Maps of images in two dimensions, from the latents of all experts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import matplotlib
import numpy as np

from moevae.config.types import MapMethod
from moevae.errors import ConfigError
from moevae.visualization import style

Panel = tuple[str, np.ndarray, Sequence[str]]
"""A coloring of a map: its name, the group of each image, [N] integers, and the names of the groups."""

MAX_COLORS = 20
"""Maximum number of groups with distinct colors; further groups share the last color, gray."""


NEIGHBORS = 15
"""Number of neighbors of UMAP, its default."""
FEWEST = 4
"""Smallest number of points that UMAP can place."""


def check(method: MapMethod) -> None:
    """Check that the package of a method is installed.

    Args:
        method: the method of the map.

    Raises:
        ConfigError: umap-learn is not installed.
    """
    if method == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "a map by umap needs the package umap-learn (pip install 'moevae[umap]'); pca does not"
        )


def project(points: np.ndarray, method: MapMethod = "pca", seed: int = 0) -> np.ndarray:
    """Project points to two dimensions.

    Args:
        points: [N, P].
        method: `pca`, or `umap` if the package umap-learn is installed; up to three points are always
            placed by `pca`.
        seed: seed of UMAP; PCA has no randomness.

    Returns:
        Coordinates, [N, 2].

    Raises:
        ConfigError: umap-learn is not installed.
    """
    check(method)
    if method == "umap" and len(points) >= FEWEST:
        with warnings.catch_warnings(action="ignore"):  # of packages that umap-learn does not find
            import umap

            neighbors = min(NEIGHBORS, len(points) - 1)
            reducer = umap.UMAP(n_neighbors=neighbors, random_state=seed % 2**32, n_jobs=1)
            found: np.ndarray = reducer.fit_transform(points)
        return found
    centered = points - points.mean(0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    axes = np.vstack([axes[:2], np.zeros((2, points.shape[1]))])[:2]  # one latent has one axis
    largest = np.abs(axes).argmax(1)
    signs = np.where(axes[np.arange(2), largest] < 0, -1, 1)  # the sign of an axis is arbitrary
    return centered @ (axes * signs[:, None]).T


def as_table(places: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return a map as numbers from 0 to 255, so that a gray image of a few kB holds it.

    Args:
        places: coordinates, [N, 2].
        groups: the group of each image, one array [N] for each coloring. Groups from 255 on become 255, far
            beyond those with colors of their own.

    Returns:
        Coordinates on a common scale, then the groups, [2 + groups, N] uint8.
    """
    low = places.min(0)
    extent = np.ptp(places, axis=0).max() or 1.0
    rows = np.rint((places - low).T / extent * 255)
    return np.vstack([rows, *(np.minimum(group, 255)[None] for group in groups)]).astype(np.uint8)


def draw(places: np.ndarray, panels: Sequence[Panel], title: str) -> style.Drawn:
    """Draw a map once for each way to color its images.

    Args:
        places: coordinates, [N, 2].
        panels: one for each way.
        title: title of the figure.

    Returns:
        The figure.
    """
    with style.style():
        figure = matplotlib.figure.Figure(figsize=(6.2 * len(panels), 5.4), layout="constrained")
        figure.suptitle(title)
        size = float(np.clip(4000 / max(1, len(places)), 2, 30))
        for place, (name, group, names) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            _panel(place, places, group, names, size)
            place.set(title=f"by {name}", xticks=[], yticks=[])
            style.bare(place)
        return style.draw(figure)


def _panel(place: Any, places: np.ndarray, group: np.ndarray, names: Sequence[str], size: float) -> None:
    """Draw the images of each group in its color, with a legend of their numbers."""
    count = 10 if len(names) <= 10 else MAX_COLORS
    colors = matplotlib.colormaps[f"tab{count}"](np.arange(count))[:, :3]
    order = np.random.default_rng(0).permutation(len(places))  # so that no group covers the others
    shown = np.minimum(group, MAX_COLORS)
    palette = np.array([*(colors[index] for index in range(min(len(names), len(colors)))), (0.6, 0.6, 0.6)])
    used = np.minimum(shown, len(palette) - 1)
    place.scatter(*places[order].T, s=size, c=palette[used[order]], linewidths=0, alpha=0.8)
    counts = np.bincount(group, minlength=len(names))
    for index in range(min(len(names), MAX_COLORS)):
        label = f"{names[index][:20]} ({counts[index]:,})"
        place.scatter([], [], s=40, color=palette[index], label=label)
    if len(names) > MAX_COLORS:
        place.scatter([], [], s=40, color=palette[-1], label=f"{len(names) - MAX_COLORS} others")
    place.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, frameon=False, borderpad=0)
