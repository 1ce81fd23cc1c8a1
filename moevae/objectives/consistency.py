"""Consistency losses of the gate: zero if its output is the same for an image and a related image.

A new consistency term is a function of a `Neighborhood` that returns one number an image, [R, B], in nats. It
is registered in CONSISTENCY_TERMS with what it needs to know of the training images. For an x' that was made
from x it is KL(q(k|x) || q(k|x')) with no gradient through q(k|x): what was made learns from the image (Hu,
Miyato, Tokui, Matsumoto, Sugiyama, 2017, learning discrete representations via information maximizing
self-augmented training). Two images learn from each other. The mean of `iic` over a batch is a negative
mutual information, which is below zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from moevae.config.registry import CONSISTENCY_TERMS
from moevae.config.schema import RunConfig
from moevae.data import neighbors as nearby
from moevae.data.augmentation import GRID, deform, jitter, stretch
from moevae.data.binarization import to_float
from moevae.distributions import kl_categorical
from moevae.nn.gradients import histograms_of_gradients
from moevae.spectral.features import gradients
from moevae.spectral.graph import neighbor_graph
from moevae.utils.rng import RunGenerators

PROBE = 10.0
"""Step length of the power iteration for the adversarial direction, in pixel units, as in Hu et al."""


COPY_SHARE = 0.7
"""Share of the pairs of `iic` that are an image and its deformed copy; the others are neighbors."""


@dataclass(frozen=True)
class Neighborhood:
    """A batch of images, the gate's output for them, and a function that applies the gate to other images."""

    gate_log_probs_of: Callable[[Tensor], Tensor]
    """Maps images, [R, B, D], to log q(k|x), [R, K, B]."""
    images: Tensor  # [R, B, D]
    log_probs: Tensor  # log q(k|x) of the images, [R, K, B]
    radius: Tensor  # radius of the ball around each image, in pixel units, [R, B]
    size: tuple[int, int]  # height and width of an image
    directions: RunGenerators
    """Random streams of the initial directions of the power iteration."""
    jitters: RunGenerators
    neighbor: Callable[[], Tensor]
    """Draws one of the nearest neighbors of each image, as input of the gate, [R, B, D]."""
    copy_of_pixels: Callable[[], Tensor] | None = None
    """Makes a deformed copy of each image, as input of the gate, if that is no image, [R, B, D]."""

    def change(self, made: Tensor) -> Tensor:
        """Return KL(q(k|x) || q(k|x')) of each image, [R, B].

        Args:
            made: x', generated from the images, [R, B, D].
        """
        here, there = self.log_probs.detach(), self.gate_log_probs_of(made)
        return kl_categorical(here.transpose(1, 2), there.transpose(1, 2))

    def copy(self) -> Tensor:
        """Return a randomly deformed copy of each image, as input of the gate, [R, B, D]."""
        if self.copy_of_pixels is not None:
            return self.copy_of_pixels()
        return deformed(self.images, self.jitters, self.size)


@CONSISTENCY_TERMS.register("vat", needs_radius=True)
def vat(around: Neighborhood) -> Tensor:
    """Return the divergence at the adversarial point on the ball, found by one power iteration, [R, B].

    Args:
        around: images with their neighbors, and the gate.

    References:
        Miyato, Maeda, Koyama, Ishii (2018), virtual adversarial training.
    """
    guess = unit(around.directions.normal(*around.images.shape[1:])).requires_grad_()  # [R, B, D]
    felt = around.change(around.images + PROBE * guess).sum()
    (direction,) = torch.autograd.grad(felt, guess)
    return around.change(around.images + around.radius.unsqueeze(-1) * unit(direction))


@CONSISTENCY_TERMS.register("augmentation", needs_pixels=True)
def augmentation(around: Neighborhood) -> Tensor:
    """Return the divergence under a small random shift, rotation and scaling of each image, [R, B].

    Args:
        around: images with their neighbors, and the gate.
    """
    draws = 2 * around.jitters.uniform(around.images.shape[1], 4) - 1  # [R, B, 4]
    return around.change(jitter(around.images, draws, around.size))


@CONSISTENCY_TERMS.register("knn", needs_neighbors=True)
def knn(around: Neighborhood) -> Tensor:
    """Return -1/2 log sum_k q(k|x) q(k|x') for a random nearest neighbor x', [R, B].

    It is zero if both images are certain of the same expert. The factor is 1/2 because a pair can be drawn
    from either side.

    Args:
        around: images with their neighbors, and the gate.

    References:
        Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool (2020), SCAN: learning to classify images
        without labels.
    """
    return _agreement(around, around.neighbor())


@CONSISTENCY_TERMS.register("knn-stretch", needs_neighbors=True, needs_pixels=True)
def knn_stretch(around: Neighborhood) -> Tensor:
    """Return the loss of `knn` with random changes of the width and the height of x', [R, B].

    Images of one class that are cropped and scaled to one size still differ in their proportions.

    Args:
        around: images with their neighbors, and the gate.
    """
    draws = 2 * around.jitters.uniform(around.images.shape[1], 2) - 1  # [R, B, 2]
    return _agreement(around, stretch(around.neighbor(), draws, around.size))


@CONSISTENCY_TERMS.register("iic", needs_neighbors=True)
def iic(around: Neighborhood) -> Tensor:
    """Return the part of each image in -I(k; k'), [R, B]; the mean has its value and its gradient.

    The mutual information is that of the experts of the two images of a pair: an image, and its deformed
    copy or one of its nearest neighbors. The pairs of the batch are counted in both directions.

    Args:
        around: images with their neighbors, and the gate.

    References:
        Ji, Henriques, Vedaldi (2019), invariant information clustering for unsupervised image classification
        and segmentation.
    """
    copied = around.jitters.uniform(around.images.shape[1], 1) < COPY_SHARE  # [R, B, 1]
    other = torch.where(copied, around.copy(), around.neighbor())
    here, there = around.log_probs.exp(), around.gate_log_probs_of(other).exp()  # [R, K, B]
    with torch.no_grad():
        joint = here @ there.transpose(1, 2) / here.shape[-1]  # [R, K, K]
        joint = (joint + joint.transpose(1, 2)) / 2
        share = joint.sum(2)
        least = torch.finfo(joint.dtype).tiny
        # The derivative of I by the joint distribution, up to a constant.
        ratio = (
            joint.clamp_min(least).log() - (share.unsqueeze(1) * share.unsqueeze(2)).clamp_min(least).log()
        )
    return -(here * (ratio @ there)).sum(1)


def _agreement(around: Neighborhood, other: Tensor) -> Tensor:
    """Return -1/2 log sum_k q(k|x) q(k|x'), [R, B]."""
    return -0.5 * (around.log_probs + around.gate_log_probs_of(other)).logsumexp(1)


@dataclass(frozen=True)
class ConsistencyTerm:
    """A consistency term, and what it needs to know of all training images."""

    loss: Callable[[Neighborhood], Tensor]
    needs_radius: bool = False
    """Whether it needs the distances of neighbors."""
    needs_neighbors: bool = False
    """Whether it needs the nearest neighbors."""
    needs_pixels: bool = False
    """Whether it changes the input of the gate as an image, which `gradients` are not."""


def consistency_terms(names: Sequence[str]) -> tuple[ConsistencyTerm, ...]:
    """Return the terms of `objective.consistency`.

    Args:
        names: names of the terms.
    """
    return tuple(ConsistencyTerm(CONSISTENCY_TERMS[name], **CONSISTENCY_TERMS.traits(name)) for name in names)


def consistency_loss(names: Sequence[str], around: Neighborhood) -> Tensor:
    """Return the sum of the terms of `objective.consistency`, of which there is one at least, [R, B].

    Args:
        names: names of the terms.
        around: images with their neighbors, and the gate.
    """
    return reduce(operator.add, (term.loss(around) for term in consistency_terms(names)))


def deformed(images: Tensor, streams: RunGenerators, size: tuple[int, int]) -> Tensor:
    """Return randomly deformed images, [R, B, D].

    Args:
        images: [R, B, D].
        streams: random streams of the deformations.
        size: height and width of an image, in pixels.
    """
    batch = images.shape[1]
    draws = (2 * streams.uniform(batch, 6) - 1).flatten(0, 1)
    waves = streams.normal(batch, 2, GRID, GRID).flatten(0, 1)
    return deform(images.flatten(0, 1), draws, waves, size).view(images.shape)


def unit(vectors: Tensor) -> Tensor:
    """Return vectors normalized to length 1; zero vectors stay zero.

    Args:
        vectors: vectors along the last axis, [..., D].
    """
    return functional.normalize(vectors, dim=-1, eps=torch.finfo(vectors.dtype).tiny)


class ConsistencyLoss:
    """The consistency loss of a population: runs share the terms and have separate weights."""

    def __init__(
        self, configs: Sequence[RunConfig], images: Tensor, size: tuple[int, int], device: torch.device
    ) -> None:
        """Prepare the distances and neighbors of the training images.

        Args:
            configs: one configuration per run.
            images: the training images, [N, D].
            size: height and width of an image, in pixels.
            device: the device of the loss.
        """
        objective, seeds = configs[0].objective, [config.seed for config in configs]
        self.names, self.size = objective.consistency, size
        known = consistency_terms(self.names)
        self.weight = torch.tensor([c.objective.consistency_weight for c in configs], device=device)
        self.directions = RunGenerators(seeds, "directions of the gate's neighbors", device)
        self.jitters = RunGenerators(seeds, "jitter of the gate's neighbors", device)
        self.choices = RunGenerators(seeds, "choice of the gate's neighbors", device)
        self.radius = torch.zeros(len(images), device=device)
        self.nearest = torch.zeros(len(images), 1, dtype=torch.int64, device=device)  # [N, 10] where needed
        by_gradients, seed = configs[0].model.gate_input == "gradients", configs[0].data.split_seed
        if any(kind.needs_radius for kind in known):
            seen = gradients(images, size) if by_gradients else images
            self.radius = (objective.vat_radius * nearby.distances(seen, seed)).to(device)
        if any(kind.needs_neighbors for kind in known):
            if by_gradients and len(images) > 1:
                self.nearest = torch.from_numpy(neighbor_graph(images, size).neighbors).to(device)
            else:
                self.nearest = nearby.nearest_neighbors(images).to(device)
        self.pixels = images.to(device) if by_gradients else None

    def __call__(
        self,
        gate_log_probs_of: Callable[[Tensor], Tensor],
        images_at: Callable[[Tensor], Tensor],
        images: Tensor,
        log_probs: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """Return the weighted loss of each run, in nats per image, [R]; there must be a term.

        Args:
            gate_log_probs_of: maps images, [R, B, D], to log q(k|x), [R, K, B].
            images_at: maps indices of training images, [R, B], to inputs of the gate, [R, B, D].
            images: the batch, as input of the gate, [R, B, D].
            log_probs: log q(k|x) of the batch, [R, K, B].
            rows: indices of the batch among the training images, [R, B].
        """
        around = Neighborhood(
            gate_log_probs_of,
            images,
            log_probs,
            self.radius[rows],
            self.size,
            self.directions,
            self.jitters,
            lambda: images_at(self._neighbors(rows)),
            None if self.pixels is None else lambda: self._copies(rows),
        )
        return self.weight * consistency_loss(self.names, around).mean(-1)

    def _copies(self, rows: Tensor) -> Tensor:
        """Return the gradients of a randomly deformed copy of each image, [R, B, F]."""
        assert self.pixels is not None
        gray = to_float(self.pixels.index_select(0, rows.flatten())).view(*rows.shape, -1)
        copies = deformed(gray, self.jitters, self.size)
        # One run at a time: the rounding of a product may depend on its shape.
        return torch.stack([histograms_of_gradients(each, self.size) for each in copies])

    def _neighbors(self, rows: Tensor) -> Tensor:
        """Draw the index of one of the nearest neighbors of each image, [R, B]."""
        count = self.nearest.shape[1]
        chosen = (self.choices.uniform(rows.shape[1]) * count).long().clamp_max(count - 1)
        return self.nearest[rows].gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
