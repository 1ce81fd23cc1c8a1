"""Samples of a run and the training images nearest to them, which show whether it copies training images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.binarization import target_images
from moevae.data.datasets import Images
from moevae.models.dispatch import draw_experts
from moevae.models.mixture import Mixture
from moevae.objectives.load_balancing import log_priors
from moevae.utils.rng import RunGenerators

NUM_SAMPLES = 100
"""Largest number of samples, and of test images that they are compared with."""

_CHUNK = 8192
"""Training images whose distances are computed at once."""


@dataclass(frozen=True)
class SampleNeighbors:
    """Samples of a run beside as many test images, and the training image nearest to each sample.

    All images are binary. The distance of two images is the number of pixels in which they differ, which is
    the squared Euclidean distance.
    """

    samples: Tensor
    """Samples, [N, D]."""
    experts: Tensor
    """Expert of each sample, [N]."""
    neighbors: Tensor
    """Training images nearest to the samples, [N, D]."""
    test: Tensor
    """The first test images, [N, D]."""
    sample_distances: Tensor
    """Distance of each sample from its neighbor, in pixels, [N]."""
    test_distances: Tensor
    """Distance of each test image from the nearest training image, in pixels, [N]."""

    def metrics(self) -> dict[str, float]:
        """Return the median and the lowest distance of the samples, and of the test images."""
        found = {}
        for name, distances in (("sample", self.sample_distances), ("test", self.test_distances)):
            found[f"{name}_distance"] = float(distances.double().quantile(0.5))
            found[f"{name}_distance_lowest"] = float(distances.min())
        return found


@torch.no_grad()
def sample_neighbors(model: Mixture, config: RunConfig, images: Images) -> SampleNeighbors | None:
    """Compare samples of a run, and test images, with all training images.

    Images of both splits are binarized once by the seed of the split, as in evaluation; with
    `data.binarization = static`, these are the training images as the run saw them.

    Args:
        model: a trained run, as a population of one run.
        config: its configuration.
        images: the data set.

    Returns:
        The comparison; None unless the run has a likelihood of binary images and
        `evaluation.iwae_samples`, which asks for a study of the likelihood.
    """
    binary = config.data.binarization != "none" and config.model.likelihood != "gaussian"
    if not (binary and config.evaluation.iwae_samples):
        return None
    test = target_images(images.test[:NUM_SAMPLES], config.data, "test")
    samples, experts = binary_samples(model, config, len(test))
    reference = target_images(images.train, config.data, "train")
    distances, places = nearest(torch.cat([samples, test]), reference)
    near, far = distances.split(len(test))
    return SampleNeighbors(samples, experts, reference[places[: len(test)]], test, near, far)


@torch.no_grad()
def binary_samples(model: Mixture, config: RunConfig, count: int) -> tuple[Tensor, Tensor]:
    """Draw binary images from a run: an expert from the prior, its latents, and each pixel.

    Args:
        model: a run with a Bernoulli or autoregressive likelihood, as a population of one run.
        config: its configuration.
        count: number of images, N.

    Returns:
        Images as float32 of 0 and 1, [N, D], and their experts, [N] int64.
    """
    num_experts, pixels = model.config.num_experts, model.size[0] * model.size[1]

    def stream(what: str) -> RunGenerators:
        return RunGenerators([config.seed], f"{what} of binary samples", model.device)

    log_prior = log_priors([config], num_experts).to(model.device)
    experts = draw_experts(log_prior.unsqueeze(-1), stream("experts").uniform(count).unsqueeze(-1))[0, :, 0]
    noise = stream("latents").normal(count, model.latent_size).unsqueeze(1)
    components = stream("components").uniform(count)[0]
    own = torch.arange(count, device=model.device)
    z = model.experts.prior_samples(noise.expand(-1, num_experts, -1, -1), components)[0, experts, own]
    draws = stream("pixels").uniform(count, pixels)[0]
    # Rows are padded to the expert with the most images: each image is drawn by its own expert only.
    mine = experts == torch.arange(num_experts, device=model.device).unsqueeze(1)  # [K, N]
    rank = mine.cumsum(1)[experts, own] - 1
    padded = z.new_zeros(1, num_experts, int(mine.sum(1).max()), z.shape[-1])
    uniform = draws.new_zeros(*padded.shape[:-1], pixels)
    padded[0, experts, rank], uniform[0, experts, rank] = z, draws
    drawn = uniform < model.experts.mean(padded, uniform=uniform)
    return drawn[0, experts, rank].float().cpu(), experts.cpu()


def nearest(images: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest reference image of each image.

    Args:
        images: images of 0 and 1, [N, D].
        reference: images of 0 and 1, [M, D].

    Returns:
        Numbers of pixels that differ, and the indices of the nearest images, the first of equally near ones,
        [N] int64 each.
    """
    best = torch.full((len(images),), images.shape[1] + 1)
    places = torch.zeros_like(best)
    for start in range(0, len(reference), _CHUNK):
        part = reference[start : start + _CHUNK]
        # Exact: sums of at most 2^24 ones.
        apart = images.sum(1, keepdim=True) + part.sum(1) - 2 * images @ part.T
        # numpy returns the first of equal minima.
        found = torch.from_numpy(apart.numpy().argmin(1))
        lowest = apart.gather(1, found.unsqueeze(1)).squeeze(1).long()
        places = torch.where(lowest < best, found + start, places)
        best = torch.minimum(best, lowest)
    return best, places
