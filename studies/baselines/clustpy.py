"""Baselines of the package ClustPy: VaDE and DEC."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from importlib.metadata import version
from typing import Any

from moevae.data.binarization import to_float
from studies.execution.baseline_fit import BaselineContext, BaselineResult, clusters, one_hot


def vade(context: BaselineContext) -> BaselineResult:
    """Fit variational deep embedding, a VAE with a Gaussian mixture as prior.

    References:
        Jiang et al. (2017), variational deep embedding.
    """
    from clustpy.deep import VaDE

    return _fit(context, VaDE)


def dec(context: BaselineContext) -> BaselineResult:
    """Fit deep embedded clustering, an autoencoder with a clustering loss on its latents.

    References:
        Xie et al. (2016), unsupervised deep embedding for clustering analysis.
    """
    from clustpy.deep import DEC

    return _fit(context, DEC)


def _fit(context: BaselineContext, method: Any) -> BaselineResult:
    """Fit a method of ClustPy to gray pixels, with the model's clusters, latent dimension and batches."""
    model = context.config.model
    fitted = method(
        n_clusters=model.num_experts,
        embedding_size=model.latent_dim,
        batch_size=context.config.train.batch_size,
        device=context.device,
        random_state=context.random_state(method.__name__),
    )

    def pixels(split: str) -> Any:
        return to_float(getattr(context.images, split)).numpy()

    begin = time.perf_counter()
    with silence():
        fitted.fit(pixels("train"))
    seconds = time.perf_counter() - begin
    network = fitted.neural_network_trained_
    return BaselineResult(
        measure=lambda split: clusters(one_hot(fitted.predict(pixels(split)), model.num_experts)),
        seconds=seconds,
        num_images=len(context.images.train) * (fitted.pretrain_epochs + fitted.clustering_epochs),
        num_experts=model.num_experts,
        device=context.device,
        derived={
            "clustpy": version("clustpy"),
            "parameters": sum(weights.numel() for weights in network.parameters()),
            **{
                name: value
                for name, value in fitted.get_params().items()
                if isinstance(value, bool | int | float)
            },
        },
    )


@contextlib.contextmanager
def silence() -> Any:
    """Suppress the output and the warnings of the package."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
