"""Images as estimators of scikit-learn receive them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from moevae.data.arrays import flattened
from moevae.data.datasets import Images

_OF_COLUMNS = ("n_features_in_", "feature_names_in_")
"""Attributes that scikit-learn sets when it validates X."""


@contextmanager
def columns_of_success(estimator: Any) -> Iterator[None]:
    """Restore what an estimator knows of the columns of X if its training fails.

    Args:
        estimator: the estimator, whose columns are set when X is validated.
    """
    before = {name: getattr(estimator, name) for name in _OF_COLUMNS if hasattr(estimator, name)}
    try:
        yield
    except BaseException:
        for name in _OF_COLUMNS:
            estimator.__dict__.pop(name, None)
        estimator.__dict__.update(before)
        raise


def validated(
    estimator: Any, X: Any, reset: bool, least: int = 1
) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    """Return X as an array, its images as rows of pixels, [N, D], and their size, if X shows it.

    Args:
        estimator: the estimator; `fit` sets its `image_size_`.
        X: the images.
        reset: whether X defines the number of pixels; otherwise it is compared with that of `fit`.
        least: smallest number of images.

    Raises:
        TypeError: X is not an array.
        ValueError: X has an unexpected form.
    """
    if isinstance(X, Images):
        raise TypeError("X is of type Images; expected an array, such as images.train.numpy()")
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    elif not hasattr(X, "ndim"):
        X = np.asarray(X)
    size = None
    if X.ndim > 2:
        X = np.asarray(X)
        flat, size = flattened(X)
    else:
        flat = X
    if not reset:
        single = not size and X.shape == estimator.image_size_ and X.shape[1:] != (estimator.n_features_in_,)
        if single or (size and size != estimator.image_size_):
            words = "is one image" if single else f"has images of {size[0]} x {size[1]} pixels"  # type: ignore[index]
            expected = "[N, H, W], such as X[None]" if single else "{} x {}".format(*estimator.image_size_)
            raise ValueError(f"X of shape {X.shape} {words}; expected {expected}")
    flat = validate_data(estimator, flat, reset=reset, dtype="numeric", ensure_min_samples=least)
    return (X if size else flat), flat, size
