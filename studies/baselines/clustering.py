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


def kmeans(given: BaselineContext) -> BaselineResult:
    """Fit k-means to the gray pixels of training images; test images belong to the nearest center."""
    begin = time.perf_counter()
    probs, derived = fit_kmeans(given, _pixels(given, "train"))
    return BaselineResult(
        measure=lambda split: clusters(probs(_pixels(given, split))),
        seconds=time.perf_counter() - begin,
        looks=len(given.images.train),
        num_experts=given.config.model.num_experts,
        derived=derived,
    )


def pca_gmm(given: BaselineContext) -> BaselineResult:
    """Fit a Gaussian mixture to the principal components of gray pixels."""
    begin = time.perf_counter()
    pixels = _pixels(given, "train")
    setting = given.settings["components"]  # text, or a number if the latent dimension is an axis
    components = setting if isinstance(setting, int) else given.config.model.latent_dim
    pca = PCA(min(components, *pixels.shape), random_state=given.random_state("PCA"))
    probs, derived = fit_gmm(given, pca.fit_transform(pixels))
    kept = {"components": int(pca.n_components_), "variance_kept": float(pca.explained_variance_ratio_.sum())}
    return BaselineResult(
        measure=lambda split: clusters(probs(pca.transform(_pixels(given, split)))),
        seconds=time.perf_counter() - begin,
        looks=len(given.images.train),
        num_experts=given.config.model.num_experts,
        derived=kept | derived,
    )


def fit_kmeans(given: BaselineContext, features: np.ndarray) -> tuple[Probs, dict[str, Any]]:
    """Fit k-means with as many clusters as experts; features [N, F]."""
    count = _clusters(given, features)
    model = KMeans(count, n_init=given.settings["n_init"], random_state=given.random_state("k-means"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        model.fit(features)
    return lambda seen: one_hot(model.predict(seen), count), {"iterations": int(model.n_iter_)}


def fit_gmm(given: BaselineContext, features: np.ndarray) -> tuple[Probs, dict[str, Any]]:
    """Fit a Gaussian mixture with as many components as experts; features [N, F]."""
    model = GaussianMixture(
        _clusters(given, features),
        covariance_type=given.settings["covariance_type"],
        n_init=given.settings["n_init"],
        max_iter=MAX_ITER,
        random_state=given.random_state("Gaussian mixture"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported by `converged`
        model.fit(features.astype(np.float64))
    return model.predict_proba, {"iterations": int(model.n_iter_), "converged": bool(model.converged_)}


def _pixels(given: BaselineContext, split: str) -> np.ndarray:
    return to_float(getattr(given.images, split)).numpy()


def _clusters(given: BaselineContext, features: np.ndarray) -> int:
    count = given.config.model.num_experts
    if len(features) < count:
        raise NotFittedError(f"{len(features)} training images are too few for {count} clusters")
    return count
