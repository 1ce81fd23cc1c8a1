"""New images from a fitted estimator."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
import torch

from moevae.config.schema import RunConfig
from moevae.evaluation.decode import decode
from moevae.models.mixture import Mixture
from moevae.objectives.load_balancing import log_priors


def sample_images(
    model: Mixture,
    config: RunConfig,
    n_samples: int,
    component: int | None,
    random: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean images of random latents; see `MixtureOfVAEs.sample`.

    Autoregressive pixels are sampled one after the other, and each image has draws of its own.

    Args:
        model: a population of one run.
        config: its configuration.
        n_samples: number of images, N.
        component: the expert to sample from; None samples an expert for each image from the prior.
        random: source of the draws.

    Returns:
        Images with values in [0, 1], [N, D], and the expert of each image, [N].

    Raises:
        ValueError: an argument is invalid.
    """
    experts = model.config.num_experts
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples = {n_samples!r}; expected an integer, at least 1")
    if component is not None and not (isinstance(component, Integral) and 0 <= component < experts):
        raise ValueError(f"component = {component!r}; expected None or an expert, 0 to {experts - 1}")
    prior = log_priors([config], experts)[0].double().exp().numpy()
    chosen = random.choice(experts, n_samples, p=prior / prior.sum())
    if component is not None:
        chosen[:] = component
    latents = random.standard_normal((n_samples, model.latent_size)).astype(np.float32)
    every = torch.from_numpy(latents).to(model.device).expand(1, experts, -1, -1)
    learned = model.experts.latent_prior is not None
    uniform = torch.from_numpy(random.random_sample(n_samples)) if learned else None
    with torch.no_grad():
        drawn = model.experts.prior_samples(every, uniform)[0].cpu().numpy()  # [K, N, Z]
    autoregressive = model.experts.context is not None
    pixels = random.random_sample((n_samples, math.prod(model.size))) if autoregressive else None
    return decode(model, drawn[chosen, np.arange(n_samples)], chosen, pixels), chosen
