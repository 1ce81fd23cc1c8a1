"""Clustering of features, such as pixels or latent means: k-means and Gaussian mixtures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from moevae.data.binarization import to_float
from studies.execution.baseline_fit import BaselineContext, BaselineResult, NotFittedError, clusters, one_hot

MAX_ITER = 1000
"""Maximum number of EM steps; scikit-learn's default of 100 is often too small."""

Probs = Callable[[np.ndarray], np.ndarray]
"""Maps features, [N, F], to the probabilities of clusters, [N, K]."""

Clusterer = Callable[[BaselineContext, np.ndarray], tuple[Probs, dict[str, Any]]]
"""Fits clusters to features, [N, F]; returns their probabilities and the derived settings."""


def kmeans(context: BaselineContext) -> BaselineResult:
    """Fit k-means to the gray pixels of training images; test images belong to the nearest center."""
    begin = time.perf_counter()
    probs, derived = fit_kmeans(context, _pixels(context, "train"))
    return BaselineResult(
        measure=lambda split: clusters(probs(_pixels(context, split))),
        seconds=time.perf_counter() - begin,
        num_images=len(context.images.train),
        num_experts=context.config.model.num_experts,
        derived=derived,
    )


def pca_gmm(context: BaselineContext) -> BaselineResult:
    """Fit a Gaussian mixture to the principal components of gray pixels."""
    begin = time.perf_counter()
    pixels = _pixels(context, "train")
    setting = context.settings["components"]  # text, or a number if the latent dimension is an axis
    components = setting if isinstance(setting, int) else context.config.model.latent_dim
    pca = PCA(min(components, *pixels.shape), random_state=context.random_state("PCA"))
    probs, derived = fit_gmm(context, pca.fit_transform(pixels))
    kept = {"components": int(pca.n_components_), "variance_kept": float(pca.explained_variance_ratio_.sum())}
    return BaselineResult(
        measure=lambda split: clusters(probs(pca.transform(_pixels(context, split)))),
        seconds=time.perf_counter() - begin,
        num_images=len(context.images.train),
        num_experts=context.config.model.num_experts,
        derived=kept | derived,
    )


def fit_kmeans(context: BaselineContext, features: np.ndarray) -> tuple[Probs, dict[str, Any]]:
    """Fit k-means with as many clusters as experts.

    Args:
        context: the run.
        features: features of training images, [N, F].

    Returns:
        A function from features to one-hot assignments, and facts about the fit by name.
    """
    count = _clusters(context, features)
    model = KMeans(count, n_init=context.settings["n_init"], random_state=context.random_state("k-means"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        model.fit(features)
    return lambda seen: one_hot(model.predict(seen), count), {"iterations": int(model.n_iter_)}


def fit_gmm(context: BaselineContext, features: np.ndarray) -> tuple[Probs, dict[str, Any]]:
    """Fit a Gaussian mixture with as many components as experts.

    Args:
        context: the run.
        features: features of training images, [N, F].

    Returns:
        A function from features to responsibilities, and facts about the fit by name.
    """
    model = GaussianMixture(
        _clusters(context, features),
        covariance_type=context.settings["covariance_type"],
        n_init=context.settings["n_init"],
        max_iter=MAX_ITER,
        random_state=context.random_state("Gaussian mixture"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported by `converged`
        model.fit(features.astype(np.float64))
    return model.predict_proba, {"iterations": int(model.n_iter_), "converged": bool(model.converged_)}


def _pixels(context: BaselineContext, split: str) -> np.ndarray:
    return to_float(getattr(context.images, split)).numpy()


def _clusters(context: BaselineContext, features: np.ndarray) -> int:
    count = context.config.model.num_experts
    if len(features) < count:
        raise NotFittedError(f"{len(features)} training images are too few for {count} clusters")
    return count
