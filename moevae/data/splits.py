"""Splits into training, validation and test images, determined by `split_seed`."""

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
    """Indices of the images of each split, in the official order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def halves(config: DataConfig, split: str, count: int) -> np.ndarray:
    """Divide a split into two random halves, determined by `split_seed`.

    Args:
        config: the data configuration.
        split: name of the split.
        count: number of images of the split, N.

    Returns:
        True for the images of the first half, [N] bool.
    """
    first = np.zeros(count, dtype=bool)
    first[_order(config.split_seed, f"halves of {split}", count)[: count // 2]] = True
    return first


def positions_of(config: DataConfig, count: int, root: Path | None) -> Positions:
    """Divide the images of a data set into training, validation and test images.

    Args:
        config: the data configuration.
        count: number of images.
        root: folder of MNIST and Fashion-MNIST; `imbalance` reads the labels there.

    Raises:
        DataError: there are too few images, or `imbalance` is set without labels.
    """
    if count < 3:
        raise DataError(f"{config.name}: {count} images cannot be split; expected at least 3")
    if official := official_test(config):
        pool, test = np.split(np.arange(count), [count - official])
    else:
        order = _order(config.split_seed, "test split", count)
        test, pool = np.split(order, [max(1, count // 5)])
    pool = _imbalanced(pool[_order(config.split_seed, "validation split", len(pool))], config, root)
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


def _imbalanced(pool: np.ndarray, config: DataConfig, root: Path | None) -> np.ndarray:
    """Return the indices that remain after the classes are imbalanced, in their order.

    The images of each class are removed in a fixed random order. A larger factor keeps all images that a
    smaller one keeps, and every part of the result has the same expected class shares.
    """
    if config.imbalance == 1:
        return pool
    found = sources.read_labels(config, root)
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
    """Return 0..count-1 in random order, the same on every machine and with every version of NumPy.

    NumPy guarantees the raw output of a bit generator, but not the methods of `Generator`.
    """
    seeds = np.random.SeedSequence([split_seed, zlib.crc32(stream.encode())])
    return np.argsort(np.random.PCG64(seeds).random_raw(count), kind="stable")
