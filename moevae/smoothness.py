"""Losses that ask the gate for the same answer nearby: zero where it does not change.

A new smoothness is a function of a `Neighborhood` that returns one number an image, [R, B], in nats, and a
line in SMOOTHNESSES. Each is KL(q(k|x) || q(k|x')) for some x' beside x, with no gradient through q(k|x): the
neighbor learns from the image (Hu, Miyato, Tokui, Matsumoto, Sugiyama, 2017, learning discrete
representations via information maximizing self-augmented training).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from moevae.config import RunConfig
from moevae.densities import kl_categorical
from moevae.pixels import gray
from moevae.seeding import Streams, generator

NEIGHBOR = 10
"""The ball of virtual adversarial training reaches a share of the distance to this neighbor."""

REFERENCE = 6000
"""Images among which neighbors are looked for: the tenth of 60,000 is about as far as the first of 6,000."""

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

    def change(self, neighbors: Tensor) -> Tensor:
        """Return KL(q(k|x) || q(k|x')) of each image and its neighbor x', [R, B]; neighbors [R, B, D]."""
        here, there = self.log_probs.detach(), self.ask(neighbors)
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


def both(around: Neighborhood) -> Tensor:
    """Return the sum of the two changes, [R, B]."""
    return virtual_adversarial(around) + augment(around)


SMOOTHNESSES: dict[str, Callable[[Neighborhood], Tensor]] = {
    "virtual-adversarial": virtual_adversarial,
    "augment": augment,
    "both": both,
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


def neighbor_distances(images: Tensor, seed: int) -> Tensor:
    """Return about how far each image is from its tenth neighbor, in pixel units, [N], float32.

    Where there are many images, the neighbors are looked for in a sample that `seed` fixes, and a nearer
    one is taken in proportion.

    Args:
        images: stored pixels, [N, D], on any device.
        seed: of the sample.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import, and often not needed

    points = gray(images.cpu())
    count = len(points)
    chosen = torch.randperm(count, generator=generator(seed, "neighbors"))[:REFERENCE]
    rank = max(1, round(NEIGHBOR * len(chosen) / count))
    # One more than the rank, because a chosen image finds itself.
    found = NearestNeighbors(n_neighbors=min(rank + 1, len(chosen)), algorithm="brute").fit(points[chosen])
    distances = torch.from_numpy(found.kneighbors(points)[0]).float()  # [N, rank + 1]
    own = torch.zeros(count, dtype=torch.bool)
    own[chosen] = True
    return torch.where(own, distances[:, -1], distances[:, min(rank, distances.shape[1]) - 1])


class Smoothness:
    """The smoothness loss of a population: the kind is shared, the weights belong to each run."""

    def __init__(
        self, configs: Sequence[RunConfig], images: Tensor, size: tuple[int, int], device: torch.device
    ) -> None:
        """Look at the training images, [N, D], once."""
        objective, seeds = configs[0].objective, [config.seed for config in configs]
        self.kind, self.size = objective.smoothness, size
        self.weight = torch.tensor([c.objective.smoothness_weight for c in configs], device=device)
        self.directions = Streams(seeds, "directions of the gate's neighbors", device)
        self.jitters = Streams(seeds, "jitter of the gate's neighbors", device)
        self.radius = torch.zeros(len(images), device=device)
        if self.kind in ("virtual-adversarial", "both"):
            distances = neighbor_distances(images, configs[0].data.split_seed)
            self.radius = (objective.smoothness_radius * distances).to(device)

    def __call__(
        self, ask: Callable[[Tensor], Tensor], images: Tensor, log_probs: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the weighted loss of each run, in nats per image, [R].

        Args:
            ask: from images, [R, B, D], to log q(k|x), [R, K, B].
            images: as the gate sees them, [R, B, D].
            log_probs: what it says of them, [R, K, B].
            rows: places of the images among the training images, [R, B].
        """
        around = Neighborhood(
            ask, images, log_probs, self.radius[rows], self.size, self.directions, self.jitters
        )
        return self.weight * SMOOTHNESSES[self.kind](around).mean(-1)
