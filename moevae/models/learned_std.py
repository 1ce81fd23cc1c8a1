"""The learned standard deviation of Gaussian pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

INITIAL_STD = 0.3
"""Initial standard deviation, in pixel units."""
STD_MOMENTUM = 0.02
"""Weight of a batch in the moving average of the variance."""
MIN_STD = 1 / 512
"""Smallest standard deviation of pixels: half of one of 256 gray levels."""


def updated_log_std(log_std: Tensor, recon_log_prob: Tensor, pixels: int) -> Tensor:
    """Move the standard deviation towards the maximum-likelihood value of a batch.

    Args:
        log_std: log standard deviation of each run, [R].
        recon_log_prob: log p(x|z) in nats, averaged over the batch and the experts, [R].
        pixels: D.

    Returns:
        The new log standard deviation, [R]. A run whose loss is not finite keeps its last value.
    """
    variance = (2 * log_std).exp()
    normalizer = pixels * (log_std + 0.5 * math.log(2 * math.pi))
    squared = -2 * variance * (recon_log_prob + normalizer) / pixels
    moved = torch.lerp(variance, squared, STD_MOMENTUM).clamp_min(MIN_STD**2)
    return torch.where(moved.isfinite(), moved, variance).log() / 2
