"""One VAE with as many parameters as the mixture, and clusters of its latents."""

from __future__ import annotations

import bisect
import functools
import time
from typing import Any

import numpy as np
import torch

from moevae.config.overrides import override
from moevae.config.schema import ModelConfig, RunConfig
from moevae.data.binarization import target_images
from moevae.data.datasets import Images
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.results import Evaluation, Split
from moevae.models.experts import Experts
from moevae.models.gate import Gate
from moevae.models.mixture import Mixture
from moevae.nn.stacked import count_parameters
from moevae.training.fit import fit as train
from studies.baselines.clustering import Clusterer, fit_gmm, fit_kmeans
from studies.execution.baseline_fit import BaselineContext, BaselineResult, NotFittedError, clusters

BOUNDS = (
    *("mixture_elbo", "marginal_elbo", "marginal_samples", "map_elbo"),
    *("recon_log_prob", "kl_z", "kl_gate", "iwae_bound"),
)
"""Metrics of a single VAE that also exist for a mixture. With one expert the three bounds are equal, up to
the Monte Carlo error of the marginal one."""

_CHUNK = 4096

_NO_GATE = {
    "model.expert_prior": (),
    "routing.kind": "soft",
    "objective.consistency": (),
    "train.extra_experts": 0,
    "train.gate_start": "none",
}
"""Settings of a mixture that one VAE has no use for."""


def vae_kmeans(context: BaselineContext) -> BaselineResult:
    """Train one VAE and fit k-means to its latent means."""
    return _clustered(context, fit_kmeans)


def vae_gmm(context: BaselineContext) -> BaselineResult:
    """Train one VAE and fit a Gaussian mixture to its latent means."""
    return _clustered(context, fit_gmm)


def of_equal_size(config: RunConfig, size: tuple[int, int]) -> tuple[RunConfig, dict[str, Any]]:
    """Return the configuration of one VAE with as many parameters as a mixture, and the derived sizes.

    Hidden layers grow in proportion. The gate of a single expert has no effect and is not counted, and what
    teaches a gate is left out.

    Args:
        config: the configuration of the mixture.
        size: height and width of an image, in pixels.
    """
    first, *_ = widths = config.model.expert_hidden or (1,)

    def widened(width: int) -> RunConfig:
        hidden = tuple(max(1, round(width * each / first)) for each in widths)
        changes = {"model.num_experts": 1, "model.expert_hidden": hidden, "model.gate_hidden": ()}
        return override(config, changes | _NO_GATE)

    def learned(width: int) -> int:
        return parameters(widened(width).model, size, gate=False)

    target = parameters(config.model, size)
    candidates = range(1, first * config.model.num_experts * 2 + max(config.model.gate_hidden, default=1) + 2)
    above = bisect.bisect_left(candidates, target, key=learned)
    near = candidates[max(0, above - 1) : above + 1]
    chosen = widened(min(near, key=lambda width: abs(learned(width) - target)))
    derived = {
        "expert_hidden": list(chosen.model.expert_hidden),
        "parameters": parameters(chosen.model, size, gate=False),
        "parameters_of_the_mixture": target,
    }
    return chosen, derived


def parameters(model: ModelConfig, size: tuple[int, int], *, gate: bool = True) -> int:
    """Return the number of parameters of a mixture.

    Args:
        model: model configuration.
        size: height and width of an image, in pixels.
        gate: whether to count the parameters of the gate.
    """
    with torch.device("meta"):
        experts = count_parameters(Experts(model, 1, size))
        return experts + (count_parameters(Gate(model, 1, size)) if gate else 0)


def _clustered(context: BaselineContext, fit: Clusterer) -> BaselineResult:
    config, derived = of_equal_size(context.config, context.images.size)
    trained = train([config], context.images, device=context.device, on_epoch=context.note)
    if failure := trained.failures[0]:
        raise NotFittedError(failure.reason, failure.epoch, failure.step)
    begin = time.perf_counter()
    latents = functools.partial(_latents, trained.model, config, context.images)
    probs, clustered = fit(context, latents("train"))

    def measure(split: Split) -> Evaluation:
        (found,) = evaluate(trained.model, [config], context.images, split, memory=context.memory)
        return clusters(
            probs(latents(split)), {name: found.metrics[name] for name in BOUNDS if name in found.metrics}
        )

    return BaselineResult(
        measure=measure,
        seconds=trained.seconds + time.perf_counter() - begin,
        num_images=round(trained.images_per_second * trained.seconds),
        num_experts=context.config.model.num_experts,
        device=context.device,
        precision=config.train.precision,
        derived=derived | clustered,
    )


@torch.no_grad()
def _latents(model: Mixture, config: RunConfig, images: Images, split: Split) -> np.ndarray:
    """Return the latent means of the images of a split, as used in evaluation, [N, Z]."""
    seen = target_images(getattr(images, split), config.data, split)
    parts = [model.experts.encode(x.to(model.device)[None])[0][0, 0].cpu() for x in seen.split(_CHUNK)]
    return torch.cat(parts).numpy()
