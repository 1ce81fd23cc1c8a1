"""Statistics of a matrix of runs, [seeds, cells]. NaN is a run that is not there: it lowers n alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Matrix = np.ndarray


@dataclass(frozen=True)
class Summary:
    """What is said of each cell; arrays of one entry a cell."""

    n: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    """With ddof = 1; NaN where n < 2."""


def summarize(values: Matrix) -> Summary:
    """Return n, mean and standard deviation of each column of [seeds, cells]."""
    present = np.isfinite(values)
    n = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    squares = np.where(present, (values - mean) ** 2, 0.0).sum(axis=0)
    variance = np.divide(squares, n - 1, out=np.full(n.shape, np.nan), where=n > 1)
    return Summary(n=n, mean=mean, std=np.sqrt(variance))
