"""Which images are for training, validation and test, decided by split_seed alone."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moevae.config.schema import DataConfig
from moevae.data import sources
from moevae.data.sources import official_test
from moevae.errors import DataError


@dataclass(frozen=True)
class Positions:
    """Positions in the official order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def halves(config: DataConfig, split: str, count: int) -> np.ndarray:
    """Return which images of a split are in its first half, [N] bool: at random, fixed by `split_seed`."""
    first = np.zeros(count, dtype=bool)
    first[_order(config.split_seed, f"halves of {split}", count)[: count // 2]] = True
    return first


def positions_of(config: DataConfig, count: int, root: Path | None) -> Positions:
    """Divide positions 0..count-1 of the official order into training, validation and test."""
    if count < 3:
        raise DataError(f"{config.name}: {count} images cannot be split; expected at least 3")
    if official := official_test(config.name):
        pool, test = np.split(np.arange(count), [count - official])
    else:
        order = _order(config.split_seed, "test split", count)
        test, pool = np.split(order, [max(1, count // 5)])
    pool = _thinned(pool[_order(config.split_seed, "validation split", len(pool))], config, root)
    held_out = max(1, len(pool) // 10) if config.validation_size is None else config.validation_size
    left = len(pool) - held_out
    if left < 1:
        raise DataError(
            f"data.validation_size = {held_out}: {config.name} has {len(pool)} images outside its test set,"
            " and training needs at least one"
        )
    if config.train_size is not None and config.train_size > left:
        raise DataError(
            f"data.train_size = {config.train_size}: {config.name} has {left} training images,"
            f" {held_out} for validation and {len(test)} for test"
        )
    return Positions(pool[held_out:][: config.train_size], pool[:held_out], test)


def _thinned(pool: np.ndarray, config: DataConfig, root: Path | None) -> np.ndarray:
    """Return what stays of the positions, in their order, where the classes are imbalanced.

    Of each class the first stay in an order of its own: what a smaller factor keeps, a larger one keeps too,
    and every part of what stays has the same shares.
    """
    if config.imbalance == 1:
        return pool
    found = sources.read_labels(config.name, root)
    if found is None:
        raise DataError(
            f"data.imbalance = {config.imbalance:g}: {config.name} has no labels, which imbalance needs;"
            " expected 1"
        )
    labels, classes = found
    drawn = _order(config.split_seed, "imbalance", len(pool))
    kept = np.zeros(len(pool), dtype=bool)
    for rank, label in enumerate(_order(config.split_seed, "class sizes", len(classes))):
        places = drawn[labels[pool[drawn]] == label]
        kept[places[: max(1, round(len(places) * config.imbalance**rank))]] = True
    return pool[kept]


def _order(split_seed: int, stream: str, count: int) -> np.ndarray:
    """Return 0..count-1 in random order, the same on every machine and with every NumPy.

    NumPy keeps the raw words of a bit generator for ever, but not what `Generator` makes of them.
    """
    seeds = np.random.SeedSequence([split_seed, zlib.crc32(stream.encode())])
    return np.argsort(np.random.PCG64(seeds).random_raw(count), kind="stable")
