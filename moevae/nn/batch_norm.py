"""Batch normalization, stacked over runs.

References:
    Ioffe, Szegedy (2015), batch normalization: accelerating deep network training by reducing internal
    covariate shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moevae.distributions import at_least_float32
from moevae.nn.stacked import Stacked

MOMENTUM = 0.1
"""Weight of a batch in the running statistics."""
EPSILON = 1e-5
"""Constant that is added to variances."""


class BatchNorm(Stacked):
    """Batch normalization over the second axis of [R, B, O], with a scale and without a shift.

    Each run has its own statistics. The layer uses the running statistics, except within `batch_statistics`.
    A shift would be redundant: the bias of the layer is added afterwards.

    Args:
        runs: R.
        width: O.
    """

    running_mean: Tensor
    """Moving average of the means, [R, O]."""
    running_variance: Tensor
    """Moving average of the unbiased variances, [R, O]."""

    def __init__(self, runs: int, width: int) -> None:
        super().__init__(scale=(runs, width))
        self.register_buffer("running_mean", torch.zeros(runs, width))
        self.register_buffer("running_variance", torch.ones(runs, width))
        self.by_batch = self.updates = False

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Set the scales to 1 and the running statistics to mean 0 and variance 1, without random numbers.

        Args:
            generators: one per run, R.
        """
        self.unpadded("scale").fill_(1)
        self.running_mean.fill_(0)
        self.running_variance.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized and scaled units.

        Args:
            x: units, [R, B, O].

        Returns:
            Units in the data type of the scales, [R, B, O].
        """
        scale, x = self.unpadded("scale").unsqueeze(1), at_least_float32(x)
        if not self.by_batch:
            centered = x - self.running_mean.unsqueeze(1)
            return (centered * (self.running_variance + EPSILON).rsqrt().unsqueeze(1) * scale).to(scale.dtype)
        mean = x.mean(1, keepdim=True)
        centered = x - mean
        variance = centered.square().mean(1, keepdim=True)
        if self.updates:
            self._update(mean.detach().squeeze(1), variance.detach().squeeze(1), x.shape[1])
        return (centered * (variance + EPSILON).rsqrt() * scale).to(scale.dtype)

    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics with those of a batch of `count` images, [R, O] each."""
        # In place: a copy of the model with another data type shares these tensors.
        self.running_mean.lerp_(mean, MOMENTUM)
        self.running_variance.lerp_(variance * (count / max(1, count - 1)), MOMENTUM)


@contextmanager
def batch_statistics(module: nn.Module, *, update: bool) -> Iterator[None]:
    """Let the batch normalization of a module use the statistics of the batch within the context.

    Args:
        module: the gate, or the whole model.
        update: whether batches update the running statistics. True for the forward pass of a training step;
            False if the images are processed again or augmented.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, BatchNorm)]
    before = [(layer.by_batch, layer.updates) for layer in layers]
    for layer in layers:
        layer.by_batch, layer.updates = True, update
    try:
        yield
    finally:
        for layer, (by_batch, updates) in zip(layers, before, strict=True):
            layer.by_batch, layer.updates = by_batch, updates
