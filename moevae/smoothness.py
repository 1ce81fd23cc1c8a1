"""Losses that ask the gate for the same answer nearby: zero where it does not change.

A new smoothness is a function of a `Neighborhood` that returns one number an image, [R, B], in nats, and a
line in SMOOTHNESSES, which says what it needs to know of the training images. For an x' that was made from x
it is KL(q(k|x) || q(k|x')) with no gradient through q(k|x): what was made learns from the image (Hu, Miyato,
Tokui, Matsumoto, Sugiyama, 2017, learning discrete representations via information maximizing self-augmented
training). Two images learn from each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from moevae import neighbors as nearby
from moevae.config import RunConfig
from moevae.densities import kl_categorical
from moevae.seeding import Streams

PROBE = 10.0
"""Length of the step by which the gate's sensitive direction is felt, in pixel units, as in Hu et al."""

SHIFT, ROTATION, SCALING = 0.07, math.radians(10), 0.1
"""Largest jitter: a share of the side, radians, and a factor's distance from 1."""


@dataclass(frozen=True)
class Neighborhood:
    """A batch of images, what the gate says of them, and how to ask it of others."""

    ask: Callable[[Tensor], Tensor]
    """From images, [R, B, D], to log q(k|x), [R, K, B]."""
    images: Tensor  # [R, B, D]
    log_probs: Tensor  # of the images, [R, K, B]
    radius: Tensor  # of the ball around each image, in pixel units, [R, B]
    size: tuple[int, int]  # height and width of an image
    directions: Streams
    """Of the first guesses at a sensitive direction."""
    jitters: Streams
    neighbor: Callable[[], Tensor]
    """Draws one of each image's nearest, as the gate sees it, [R, B, D]."""

    def change(self, made: Tensor) -> Tensor:
        """Return KL(q(k|x) || q(k|x')) of each image and of x', which was made from it, [R, B, D]: [R, B]."""
        here, there = self.log_probs.detach(), self.ask(made)
        return kl_categorical(here.transpose(1, 2), there.transpose(1, 2))


def virtual_adversarial(around: Neighborhood) -> Tensor:
    """Return the change at the edge of the ball, where one power iteration finds it worst, [R, B].

    Miyato, Maeda, Koyama, Ishii (2018), virtual adversarial training.
    """
    guess = unit(around.directions.normal(*around.images.shape[1:])).requires_grad_()  # [R, B, D]
    felt = around.change(around.images + PROBE * guess).sum()
    (direction,) = torch.autograd.grad(felt, guess)
    return around.change(around.images + around.radius.unsqueeze(-1) * unit(direction))


def augment(around: Neighborhood) -> Tensor:
    """Return the change under a small random shift, rotation and scaling of each image, [R, B]."""
    draws = 2 * around.jitters.uniform(around.images.shape[1], 4) - 1  # [R, B, 4]
    return around.change(jitter(around.images, draws, around.size))


def neighbors(around: Neighborhood) -> Tensor:
    """Return -1/2 log sum_k q(k|x) q(k|x') for one x' of the nearest, [R, B]: 0 where both are sure of one k.

    Half of it, because a pair is met from either side. Van Gansbeke, Vandenhende, Georgoulis, Proesmans,
    Van Gool (2020), SCAN: learning to classify images without labels.
    """
    return -0.5 * (around.log_probs + around.ask(around.neighbor())).logsumexp(1)


def both(around: Neighborhood) -> Tensor:
    """Return the sum of the two changes, [R, B]."""
    return virtual_adversarial(around) + augment(around)


def adversarial_and_neighbors(around: Neighborhood) -> Tensor:
    """Return the sum of the two, [R, B]."""
    return virtual_adversarial(around) + neighbors(around)


@dataclass(frozen=True)
class Kind:
    """A smoothness, and what it needs to know of all training images."""

    loss: Callable[[Neighborhood], Tensor]
    ball: bool = False
    """How far neighbors are."""
    near: bool = False
    """Which images are neighbors."""


SMOOTHNESSES = {
    "virtual-adversarial": Kind(virtual_adversarial, ball=True),
    "augment": Kind(augment),
    "both": Kind(both, ball=True),
    "neighbors": Kind(neighbors, near=True),
    "virtual-adversarial+neighbors": Kind(adversarial_and_neighbors, ball=True, near=True),
}


def unit(vectors: Tensor) -> Tensor:
    """Return vectors, [..., D], at length 1; zero stays zero."""
    return functional.normalize(vectors, dim=-1, eps=torch.finfo(vectors.dtype).tiny)


def jitter(images: Tensor, draws: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images moved, turned and scaled, [R, B, D].

    Args:
        images: [R, B, D].
        draws: how far right, down, turned and grown, in [-1, 1] of the largest jitter, [R, B, 4].
        size: height and width of an image.
    """
    right, down, turn, growth = draws.flatten(0, 1).unbind(-1)  # [R B]
    shrink = 1 / (1 + SCALING * growth)
    cosine, sine = shrink * (ROTATION * turn).cos(), shrink * (ROTATION * turn).sin()
    # Where each pixel comes from, measured in half sides from the center.
    rows = (cosine, sine, -2 * SHIFT * right, -sine, cosine, -2 * SHIFT * down)
    places = torch.stack(rows, -1).unflatten(-1, (2, 3))  # [R B, 2, 3]
    pictures = images.reshape(-1, 1, *size)
    grid = functional.affine_grid(places, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, align_corners=False).reshape(images.shape)


class Smoothness:
    """The smoothness loss of a population: the kind is shared, the weights belong to each run."""

    def __init__(
        self, configs: Sequence[RunConfig], images: Tensor, size: tuple[int, int], device: torch.device
    ) -> None:
        """Look at the training images, [N, D], once."""
        objective, seeds = configs[0].objective, [config.seed for config in configs]
        self.kind, self.size = SMOOTHNESSES.get(objective.smoothness), size
        self.weight = torch.tensor([c.objective.smoothness_weight for c in configs], device=device)
        self.directions = Streams(seeds, "directions of the gate's neighbors", device)
        self.jitters = Streams(seeds, "jitter of the gate's neighbors", device)
        self.choices = Streams(seeds, "choice of the gate's neighbors", device)
        self.radius = torch.zeros(len(images), device=device)
        self.nearest = torch.zeros(len(images), 1, dtype=torch.int64, device=device)  # [N, 10] where needed
        if self.kind and self.kind.ball:
            distances = nearby.distances(images, configs[0].data.split_seed)
            self.radius = (objective.smoothness_radius * distances).to(device)
        if self.kind and self.kind.near:
            self.nearest = nearby.nearest(images).to(device)

    def __call__(
        self,
        ask: Callable[[Tensor], Tensor],
        look: Callable[[Tensor], Tensor],
        images: Tensor,
        log_probs: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """Return the weighted loss of each run, in nats per image, [R]; there must be a kind.

        Args:
            ask: from images, [R, B, D], to log q(k|x), [R, K, B].
            look: from places among the training images, [R, B], to images as the gate sees them, [R, B, D].
            images: as the gate sees them, [R, B, D].
            log_probs: what it says of them, [R, K, B].
            rows: places of the images among the training images, [R, B].
        """
        assert self.kind
        around = Neighborhood(
            ask,
            images,
            log_probs,
            self.radius[rows],
            self.size,
            self.directions,
            self.jitters,
            lambda: look(self._neighbors(rows)),
        )
        return self.weight * self.kind.loss(around).mean(-1)

    def _neighbors(self, rows: Tensor) -> Tensor:
        """Draw the place of one of each image's nearest, [R, B]."""
        count = self.nearest.shape[1]
        chosen = (self.choices.uniform(rows.shape[1]) * count).long().clamp_max(count - 1)
        return self.nearest[rows].gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
