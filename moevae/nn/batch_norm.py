"""Batch normalization stacked over runs (Ioffe, Szegedy, 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moevae.distributions import at_least_float32
from moevae.nn.stacked import Stacked

MOMENTUM = 0.1
"""Share of the batch's statistics in the new running ones."""
EPSILON = 1e-5
"""Added to variances."""


class BatchNorm(Stacked):
    """Units of [R, N, O] at mean 0 and variance 1 over N, and then scaled: each run has its own statistics.

    Whose mean and variance these are is never guessed: the running ones, unless `batch_statistics` says
    otherwise. There is no shift: that is the bias of the layer before.
    """

    running_mean: Tensor  # [R, O]
    running_variance: Tensor  # [R, O]

    def __init__(self, runs: int, width: int) -> None:
        super().__init__(scale=(runs, width))
        self.register_buffer("running_mean", torch.zeros(runs, width))
        self.register_buffer("running_variance", torch.ones(runs, width))
        self.by_batch = self.updates = False

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Start with scales of one and no batch seen; nothing is drawn."""
        self.stored("scale").fill_(1)
        self.running_mean.fill_(0)
        self.running_variance.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized and scaled units, [R, N, O], in the type of the scales."""
        scale, x = self.stored("scale").unsqueeze(1), at_least_float32(x)
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
        # In place: a copy of the model in another type shares these statistics.
        self.running_mean.lerp_(mean, MOMENTUM)
        self.running_variance.lerp_(variance * (count / max(1, count - 1)), MOMENTUM)


@contextmanager
def batch_statistics(module: nn.Module, *, update: bool) -> Iterator[None]:
    """Let batch normalization in a module go by the batch that it sees, and not by the running statistics.

    Args:
        module: the gate, or all of the model.
        update: whether the batch moves the running statistics, as in a training step; not where images are
            looked at once more, or were changed.
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
