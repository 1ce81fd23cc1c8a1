"""Studies in memory whose cells have the same distribution: any claim of a difference is false."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from moevae.config import overrides
from moevae.config.presets import digits
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.records.schema import Record

GRIDS = {2: (2,), 4: (2, 2), 8: (4, 2), 30: (6, 5)}
"""Levels of the axes, by the number of cells."""
SIZES = (3, 5, 10)
"""Seeds."""
KINDS = ("normal", "skewed", "collapsing")
AXES = ("routing.temperature", "objective.balance_weight")
CLAIMS = {
    "best": "below it",
    "axis 1": r"\*\*Temperature\*\* .* (raises|lowers)",
    "axis 2": r"\*\*Balance weight\*\* .* (raises|lowers)",
    "interaction": "depends on",
    "selection": "Choosing a cell without labels",
}
"""What a false sentence of each kind has."""


def draw(kind: str, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return values of cells with the same distribution, [seeds, cells]; cells share the effect of a seed."""
    if kind == "normal":
        return rng.normal(size=(shape[0], 1)) + rng.normal(size=shape)
    if kind == "skewed":
        return rng.normal(size=(shape[0], 1)) + rng.lognormal(size=shape)
    alive = 0.5 + 0.02 * rng.normal(size=shape)
    return np.where(rng.random(shape) < 0.4, 0.0, alive)  # NMI of a collapsed gate is exactly 0


def study(kind: str, rng: np.random.Generator, cells: int, n: int, shift: float = 0.0) -> Study:
    """Return a full grid of such cells; `shift` is added to NMI in the first."""
    grid = GRIDS[cells]
    levels = [tuple(float(level) for level in range(size)) for size in grid]
    axes = dict(zip(AXES, levels, strict=False))
    metrics = {
        "test.nmi": draw(kind, rng, (n, cells)),
        "test.mixture_elbo": draw(kind, rng, (n, cells)),
        "test.dead_experts": np.round(4 * draw(kind, rng, (n, cells))),
        "validation.mixture_elbo": draw(kind, rng, (n, cells)),
        "validation.marginal_elbo": draw(kind, rng, (n, cells)),
    }
    metrics["test.nmi"][:, 0] += shift
    record = SimpleNamespace(
        status="complete", config=overrides.to_dict(digits()), data=SimpleNamespace(train=10, validation=10)
    )
    runs = [
        StudyRun(
            record=cast(Record, record),
            cell=cell,
            seed=seed,
            metrics={key: float(values[seed, cell]) for key, values in metrics.items()},
            curve={"loss": rng.normal(size=1), "epoch": np.ones(1)},
        )
        for cell, seed in itertools.product(range(cells), range(n))
    ]
    known: dict[str, Any] = {"name": "alike", "title": "Alike", "description": "", "command": ""}
    return Study(
        folder=Path(),
        **known,
        axes=axes,
        cells=tuple(itertools.product(*levels)),
        reference=0,
        planned_seeds=tuple(range(n)),
        planned_cells=cells,
        runs=tuple(runs),
        numbers=tuple(range(1, cells + 1)),
    )


def false(sentences: list[str]) -> set[str]:
    """Return the kinds of sentence that claim a difference."""
    return {kind for kind, words in CLAIMS.items() if any(re.search(words, each) for each in sentences)}


def most(trials: int, level: float = 0.05, error_rate: float = 0.01) -> int:
    """Return the most false sentences of so many studies at a true rate `level`.

    More of them occur with a probability of `error_rate` at most.

    The one-sided point of the binomial distribution: what the simulation errs by.
    """
    below = 0.0
    for count in range(trials + 1):
        below += math.comb(trials, count) * level**count * (1 - level) ** (trials - count)
        if below >= 1 - error_rate:
            return count
    return trials
