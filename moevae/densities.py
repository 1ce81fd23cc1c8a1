"""Log-densities and divergences in nats, summed over the last axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """Return log Bernoulli(x; sigmoid(logits)), [...]; both arguments [..., D], x in [0, 1]."""
    return (x * logits - functional.softplus(logits)).sum(-1)


def gaussian_log_prob(mean: Tensor, x: Tensor, std: float) -> Tensor:
    """Return log N(x; mean, std^2 I), normalizing constant included, [...]; tensors [..., D]."""
    constant = mean.shape[-1] * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return -0.5 * ((x - mean) / std).square().sum(-1) - constant


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)), [...]; both arguments [..., Z]."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)


def kl_categorical(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(q || p) over the last axis, [...]; q may be one-hot (log_q of minus infinity)."""
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0).sum(-1)
