"""Batches of the training images; each run has its own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.binarization import binarize_once, to_float
from moevae.spectral.features import gradients
from moevae.utils.rng import RunGenerators


@dataclass(frozen=True)
class Batch:
    """One batch of training images for each run."""

    rows: Tensor
    """Indices of the images in the training split, [R, B]."""
    target: Tensor
    """Images as the likelihood sees them, [R, B, D]."""
    gray: Tensor
    """The same images in grayscale, [R, B, D]."""
    read: Tensor | None
    """What the gate reads, if it was computed before training, [R, B, F]."""


class Batches:
    """Batches of the training images of a population.

    Args:
        configs: one per run, with the same data and batch size.
        images: stored pixels of the training split, [N, D].
        size: height and width of an image, in pixels.
        device: where the batches are created.
    """

    def __init__(
        self, configs: Sequence[RunConfig], images: Tensor, size: tuple[int, int], device: torch.device
    ) -> None:
        data, seeds = configs[0].data, [config.seed for config in configs]
        self.dynamic = data.binarization == "dynamic"
        self.images = images.to(device)
        fixed = data.binarization == "static"
        self.binarized = binarize_once(images, data.split_seed, "train").to(device) if fixed else None
        by_gradients = configs[0].model.gate_input == "gradients"
        self.features = gradients(images, size).to(device) if by_gradients else None
        train = configs[0].train
        self.size, self.passes = min(train.batch_size, len(images)), train.passes(len(images))
        self.steps = len(images) // self.size * self.passes
        self.order = RunGenerators(seeds, "order", device)
        self.threshold = RunGenerators(seeds, "binarization", device)

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches of one epoch, of one pass over the images or, for `train.min_steps`, several.

        Each pass is in a new random order; its last, incomplete batch is left out.
        """
        for _ in range(self.passes):
            order = self.order.permutations(len(self.images))  # [R, N]
            for step in range(self.steps // self.passes):
                rows = order[:, step * self.size : (step + 1) * self.size]
                yield Batch(rows, *self.images_at(rows), self.features_at(rows))

    def features_at(self, rows: Tensor) -> Tensor | None:
        """Return the input of the gate for images, by their index.

        Args:
            rows: indices in the training split, [R, B].

        Returns:
            Features, [R, B, F]; None if the gate reads pixels.
        """
        return None if self.features is None else gather_rows(self.features, rows)

    def images_at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return images by their index.

        Args:
            rows: indices in the training split, [R, B].

        Returns:
            The images as the likelihood sees them and in grayscale, [R, B, D] each.
        """
        gray = to_float(gather_rows(self.images, rows))
        return self._target(rows, gray), gray

    def _target(self, rows: Tensor, gray: Tensor) -> Tensor:
        """Return the images as the likelihood sees them: binarized, if so configured, [R, B, D]."""
        if self.dynamic:
            return self.threshold.uniform(*gray.shape[1:]).lt_(gray)
        return gray if self.binarized is None else gather_rows(self.binarized, rows)


def gather_rows(images: Tensor, rows: Tensor) -> Tensor:
    """Return images[rows], seven times faster on a CPU than by indexing.

    Args:
        images: [N, D].
        rows: indices of images, [R, B].

    Returns:
        Images, [R, B, D].
    """
    return images.index_select(0, rows.flatten()).view(*rows.shape, -1)
