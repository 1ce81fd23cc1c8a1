"""Permutations of the cells within each seed, and p-values adjusted by max-T.

References:
    Westfall & Young (1993), Resampling-Based Multiple Testing (max-T).
    Phipson & Smyth (2010), Permutation p-values should never be zero (counting the observed arrangement).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from studies.statistics import stats
from studies.statistics.stats import Matrix, Row

MAX_PERMUTATIONS = 1999
"""Maximum number of permutations; if there are more, this many random ones are used."""
MIN_PERMUTATIONS = 199
"""Minimum number of random permutations, for large studies."""
MAX_VALUES = 20_000_000
"""Largest number of permuted values for one family of tests."""
CHUNK = 2_000_000
"""Number of values permuted at a time."""
TIE_TOLERANCE = 1e-9
"""Relative difference below which statistics are ties, so that rounding does not decide."""

Stack = np.ndarray
"""Stack of matrices, [..., seeds, cells]."""
Statistic = Callable[[Stack], np.ndarray]
"""Maps [permutations, seeds, cells] to [permutations, tests]; NaN if there is no test."""


def max_t(families: Sequence[Matrix], statistics: Sequence[Statistic]) -> list[Row]:
    """Return p-values adjusted over all tests of all families.

    Families are permuted together if each seed has values for the same cells in all of them, or for none.
    Groups of families that cannot be permuted together share the level by Bonferroni's correction.

    Args:
        families: one matrix [seeds, cells] per measure; NaN for missing runs.
        statistics: the statistic of each family; larger values are more extreme.

    Returns:
        One row of p-values per family, [tests] each; NaN if there is no test.
    """
    observed = [statistic(each[None])[0] for each, statistic in zip(families, statistics, strict=True)]
    adjusted = [np.full(each.shape, np.nan) for each in observed]
    tested = [place for place, each in enumerate(observed) if not np.isnan(each).all()]
    groups = _joint_groups([np.isfinite(families[place]) for place in tested])
    for members, present in groups:
        chosen = [tested[member] for member in members]
        reached, total = [np.zeros(observed[place].shape) for place in chosen], 0
        exact = _num_permutations(present) <= MAX_PERMUTATIONS
        for order in _permutations(present, sum(families[place].size for place in chosen)):
            rows = np.arange(present.shape[0])[:, None]
            largest = np.full(len(order), -np.inf)
            for place in chosen:
                moved = statistics[place](families[place][rows, order])
                largest = np.fmax(largest, np.fmax.reduce(moved, axis=1))
            for count, place in zip(reached, chosen, strict=True):
                least = observed[place] - TIE_TOLERANCE * np.abs(
                    np.where(np.isinf(observed[place]), 0, observed[place])
                )
                count += (largest[:, None] >= least).sum(axis=0)
            total += len(order)
        for count, place in zip(reached, chosen, strict=True):
            p = count / total if exact else (count + 1) / (total + 1)
            adjusted[place] = np.where(np.isnan(observed[place]), np.nan, np.minimum(1.0, len(groups) * p))
    return adjusted


def _joint_groups(present: Sequence[np.ndarray]) -> list[tuple[list[int], np.ndarray]]:
    """Group masks [seeds, cells] that agree in all rows in which neither is empty, with their unions."""
    groups: list[tuple[list[int], np.ndarray]] = []
    for place, mask in enumerate(present):
        for number, (members, union) in enumerate(groups):
            if ((mask == union).all(axis=1) | ~mask.any(axis=1) | ~union.any(axis=1)).all():
                groups[number] = ([*members, place], union | mask)
                break
        else:
            groups.append(([place], mask))
    return groups


def _num_permutations(present: np.ndarray) -> float:
    """Return the number of permutations."""
    return math.prod(float(math.factorial(min(int(size), 100))) for size in present.sum(axis=1))


def _permutations(present: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield permutations of the cells within seeds, [permutations, seeds, cells]: all, or random ones."""
    number = _num_permutations(present)
    every = number <= MAX_PERMUTATIONS
    left = int(number) if every else max(MIN_PERMUTATIONS, min(MAX_PERMUTATIONS, MAX_VALUES // max(size, 1)))
    chunk = max(1, CHUNK // max(size, 1))
    if left <= chunk:
        yield _cached_permutations(present.tobytes(), present.shape, left, every)
        return
    rng = np.random.default_rng(stats.SEED)
    whole = _all_permutations(present) if every else None
    for start in range(0, left, chunk):
        some = min(chunk, left - start)
        yield _random_permutations(present, some, rng) if whole is None else whole[start : start + some]


@functools.lru_cache(maxsize=4)
def _cached_permutations(mask: bytes, shape: tuple[int, int], number: int, every: bool) -> np.ndarray:
    """Return permutations from a cache that families of a study, and small studies, share."""
    present = np.frombuffer(mask, dtype=bool).reshape(shape)
    order = (
        _all_permutations(present)
        if every
        else _random_permutations(present, number, np.random.default_rng(stats.SEED))
    )
    order.setflags(write=False)
    return order


def _all_permutations(present: np.ndarray) -> np.ndarray:
    there = [np.flatnonzero(row) for row in present]
    rows = [np.array(list(itertools.permutations(cells)), dtype=int) for cells in there]
    places = np.array(list(itertools.product(*(range(len(row)) for row in rows)))).T
    order = np.tile(np.arange(present.shape[1]), (places.shape[1], len(rows), 1))
    for number, (cells, row) in enumerate(zip(there, rows, strict=True)):
        order[:, number, cells] = row[places[number]]
    return order


def _random_permutations(present: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    order = np.tile(np.arange(present.shape[1]), (number, len(present), 1))
    for row, mask in enumerate(present):
        cells = np.flatnonzero(mask)
        order[:, row, cells] = cells[rng.random((number, len(cells))).argsort(axis=1)]
    return order
