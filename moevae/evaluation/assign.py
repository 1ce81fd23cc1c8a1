"""Assignments of arbitrary images: the result for an image depends on that image and the run alone.

Order and number of the images do not matter, bit for bit on one machine. Three rules ensure this. The gate
reads grayscale pixels if it was trained on them. If it was trained on binarized pixels, its probabilities are
averaged over draws that are the same for all images. Bounds are averaged over these draws, too, with common
noise for the latents. Images are processed in blocks of one size, because the rounding of a matrix product
depends on its shape, and by functions whose rounding does not depend on the place in a block.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.binarization import to_float
from moevae.data.datasets import Images, Labels
from moevae.evaluation import memory
from moevae.evaluation.log_weights import BLOCK
from moevae.models.expert_bound import expert_terms, reparameterize
from moevae.models.gate import gate_log_probs
from moevae.models.mixture import Mixture
from moevae.nn.sequential import sigmoids_alone
from moevae.objectives.bounds import mixture_elbo
from moevae.objectives.load_balancing import log_priors
from moevae.training.checkpoint import Trained
from moevae.training.results import FitResult
from moevae.training.schedules import temperatures
from moevae.utils import devices
from moevae.utils.rng import RunGenerators, generator

NUM_DRAWS = 16
"""Draws of binarized pixels, and of latents per expert, over which a result is averaged."""

REFERENCE_IMAGES = 500
"""Number of images whose bounds determine which images are unusual."""

MIN_REFERENCE_IMAGES = 100
"""Number of images below which the quantile `UNUSUAL_SHARE` is unreliable."""

UNUSUAL_SHARE = 0.01
"""Share of these images that has a bound below the threshold of unusual images."""

_MEMORY = 1 << 30
"""Memory limit for a block of images, in bytes; larger images are processed in blocks of `_SMALL`."""
_SMALL = 16


@dataclass(frozen=True)
class Assignments:
    """Assignments of N images by one run."""

    gate_probs: np.ndarray
    """q(k|x), [N, K] float64."""
    bounds: np.ndarray
    """Mixture ELBO of each image in nats, [N] float64. Of a binarized image: its mean over the draws."""
    latents: np.ndarray
    """Mean of q(z|x) under the assigned expert, [N, Z] float32; of a binarized image, averaged likewise."""

    @property
    def experts(self) -> np.ndarray:
        """Most probable expert of each image, [N] int64."""
        return self.gate_probs.argmax(1)

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of the assigned expert, [N]."""
        return self.gate_probs.max(1)

    @property
    def runners_up(self) -> np.ndarray:
        """Second most probable expert of each image, [N] int64; -1 for a run with one expert."""
        if self.gate_probs.shape[1] == 1:
            return np.full(len(self.gate_probs), -1)
        return np.argsort(-self.gate_probs, axis=1, kind="stable")[:, 1]


@torch.no_grad()
@devices.cpu_settings()
def assign(
    model: Mixture,
    config: RunConfig,
    images: Tensor,
    *,
    draws: int = NUM_DRAWS,
    bounds: bool = True,
    latents: bool = True,
) -> Assignments:
    """Return the assignments, bounds and latents of images; each result depends on its image only.

    Args:
        model: a trained run, as a population of one run.
        config: its configuration.
        images: stored pixels, uint8 of 0..255 or float32 in [0, 1], [N, D].
        draws: draws of binarized pixels and of latents. More draws give less noise and take more time.
        bounds: whether to compute the bounds; otherwise, they are NaN, and no expert decodes.
        latents: whether to compute the latents; otherwise, they are NaN. Without bounds and latents, only the
            gate is evaluated, which takes a pass through the experts if it is their posterior.

    Raises:
        TypeError: `images` is not a tensor.
        ValueError: the model has several runs, or the images have another number of pixels or other values.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images are of type {type(images).__name__}; expected a tensor, such as torch.from_numpy(array)"
        )
    pixels = model.size[0] * model.size[1]
    if len(model.seeds) != 1:
        raise ValueError(f"a population of {len(model.seeds)} runs; expected one run (see select_run)")
    if images.ndim != 2 or images.shape[1] != pixels:
        raise ValueError(f"images of shape {list(images.shape)}; expected [N, {pixels}]")
    if images.dtype != torch.uint8 and not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images have values outside [0, 1]; expected uint8 of 0..255, or floats in [0, 1]")
    block = BLOCK if BLOCK * memory.image_bytes(config, model.size) <= _MEMORY else _SMALL
    answers = _Answers(model, config, draws, bounds, latents)
    parts: dict[str, list[Tensor]] = defaultdict(list)
    with sigmoids_alone(model):
        for part in images.split(block):
            padded = torch.zeros(block, pixels, dtype=part.dtype)
            padded[: len(part)] = part
            for name, value in answers(to_float(padded.to(model.device))).items():
                parts[name].append(value[: len(part)].cpu())
    if not parts:
        return Assignments(
            np.zeros((0, model.config.num_experts)),
            np.zeros(0),
            np.zeros((0, model.latent_size), np.float32),
        )
    return Assignments(**{name: torch.cat(values).numpy() for name, values in parts.items()})


def usual_images(images: Images) -> tuple[Tensor, list[str]]:
    """Return the images of a data set that `unusual_below` compares with.

    They are the validation images. While there are fewer than `MIN_REFERENCE_IMAGES`, test images, and then
    training images follow.

    Args:
        images: the data set.

    Returns:
        The images, [N, D], and the names of their splits.
    """
    usual, splits = images.validation, ["validation"] if len(images.validation) else []
    for name, more in (("test", images.test), ("training", images.train)):
        if len(usual) < MIN_REFERENCE_IMAGES and len(more):
            usual = torch.cat([usual, more[:REFERENCE_IMAGES]])
            splits.append(name)
    return usual, splits


def unusual_below(model: Mixture, config: RunConfig, images: Tensor) -> float:
    """Return the bound below which an image is unusual: the quantile `UNUSUAL_SHARE` of the bounds of images.

    Args:
        model: a trained run, as a population of one run.
        config: its configuration.
        images: stored pixels of images that are not unusual, [N, D]; held-out images are best, because the
            bounds of training images are higher than those of equal new images. The first
            `REFERENCE_IMAGES` count.
    """
    found = assign(model, config, images[:REFERENCE_IMAGES], latents=False).bounds
    return float(np.quantile(found, UNUSUAL_SHARE))


def with_threshold(fit: FitResult, run: int, images: Images, labels: Labels | None) -> Trained:
    """Return one run of a population with its threshold of unusual images, as commands save it.

    Args:
        fit: the population.
        run: index of the run.
        images: the images that it was trained on.
        labels: their labels; None if there are none.
    """
    trained = Trained.of(fit, run, images, labels)
    usual, splits = usual_images(images)
    limit = unusual_below(trained.model, trained.config, usual)
    return replace(trained, unusual_below=limit, usual_images=" and ".join(splits))


class _Answers:
    """Function from a block of images to their results, with fixed random draws.

    Args:
        model: a population of one run.
        config: the configuration of the run.
        draws: S.
        bounds: whether bounds are computed.
        latents: whether latents are computed.
    """

    def __init__(self, model: Mixture, config: RunConfig, draws: int, bounds: bool, latents: bool) -> None:
        self.model, self.bounds, self.latents = model, bounds, latents
        self.temperature = temperatures([config], 1.0, model.gate)
        self.log_prior = log_priors([config], model.config.num_experts).to(model.device).double()
        shape = draws, model.config.num_experts, 1, model.latent_size
        self.noise = RunGenerators([config.seed], "latents of assigned images").normal(*shape)[0]
        self.thresholds: list[Tensor | None] = [None] * (draws if bounds else 1)
        if config.data.binarization != "none":
            pixels = model.size[0] * model.size[1]
            self.thresholds = list(_thresholds(draws, pixels, config.data.split_seed).to(model.device))
            if model.config.gate_input != "target" and not (bounds or latents):
                del self.thresholds[1:]  # the gate reads none of them

    def __call__(self, gray: Tensor) -> dict[str, Tensor]:
        """Return the fields of `Assignments`; gray [B, D]."""
        once = self._gate(gray) if self.model.config.gate_input != "target" else None
        sums: dict[str, Tensor] = {}
        for threshold, noise in zip(self.thresholds, self.noise, strict=False):
            x = gray if threshold is None else (threshold < gray).to(gray.dtype)
            log_q = self._gate(x) if once is None else once  # [1, K, B]
            found = {"gate_probs": log_q.exp().double()}
            if self.bounds or self.latents:
                mu, logvar = self.model.experts.encode(x[None])  # [1, K, B, Z]
                found["latents"] = mu.double()
            if self.bounds:
                found["bounds"] = self._bound(x, log_q, mu, logvar, noise)
            sums = {name: sums.get(name, 0) + value for name, value in found.items()}
        means = {name: value[0] / len(self.thresholds) for name, value in sums.items()}
        probs = means["gate_probs"].T.contiguous()  # [B, K]
        bounds = means.get("bounds", gray.new_full((len(gray),), torch.nan).double())
        latents = gray.new_full((len(gray), self.model.latent_size), torch.nan)
        if self.latents:
            latents = means["latents"][probs.argmax(1), torch.arange(len(gray), device=gray.device)].float()
        return {"gate_probs": probs, "bounds": bounds, "latents": latents}

    def _gate(self, x: Tensor) -> Tensor:
        """Return log q(k|x), [1, K, B]; x [B, D]."""
        return gate_log_probs(self.model.gate_logits(x[None], x[None]), self.temperature)

    def _bound(self, x: Tensor, log_q: Tensor, mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
        """Return the mixture ELBO of each image, [1, B].

        Args:
            x: images, [B, D].
            log_q: log q(k|x), [1, K, B].
            mu: means of q(z|x), [1, K, B, Z].
            logvar: log-variances of q(z|x), [1, K, B, Z].
            noise: standard normal draws, [K, 1, Z].
        """
        draws = noise.to(mu).expand_as(mu).unsqueeze(3)  # [1, K, B, 1, Z]
        z = reparameterize(mu, logvar, draws).flatten(2, 3)
        recon = self.model.experts.recon_log_prob(z, x[None], alone=True)
        prior = self.model.experts.learned_prior()
        log_prior = None if prior is None else prior.log_prob(z).unsqueeze(-1)
        recon, kl_z = expert_terms(recon.unsqueeze(-1), mu, logvar, draws, "elbo", log_prior)
        return mixture_elbo((recon - kl_z).double(), log_q.double(), self.log_prior)


def _thresholds(draws: int, pixels: int, seed: int) -> Tensor:
    """Return uniform draws that binarize images, [S, D]; the draws of a pixel are stratified.

    Each draw is uniform on [0, 1). A pixel of gray value p is 1 in p S of the S draws, rounded up or down.
    """
    stream = generator(seed, "binarization of assigned images")
    order = torch.rand(draws, pixels, generator=stream).argsort(0)
    return (order + torch.rand(draws, pixels, generator=stream)) / draws
