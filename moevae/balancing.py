"""Losses that keep experts from dying: zero where the batch shares its images equally.

A new balancing loss is a function of log q(k|x), [R, K, B], that returns one number a run, [R], and a
line in BALANCINGS.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from moevae.densities import kl_categorical


def log_importance(log_probs: Tensor) -> Tensor:
    """Return log q_bar, the mean probability of each expert over the batch, [R, K]."""
    return log_probs.logsumexp(-1) - math.log(log_probs.shape[-1])


def kl_to_uniform(log_probs: Tensor) -> Tensor:
    """Return KL(q_bar || pi) in nats, between 0 and ln K."""
    uniform = torch.tensor(-math.log(log_probs.shape[1]), dtype=log_probs.dtype, device=log_probs.device)
    return kl_categorical(log_importance(log_probs), uniform)


def variance_of_sum(log_probs: Tensor) -> Tensor:
    """Return Var_k(sum over the batch of q(k|x)), biased, as the 2019 article has it.

    It equals (B / K)^2 CV^2: its strength moves with the batch size B.
    """
    return log_probs.exp().sum(-1).var(-1, correction=0)


def none(log_probs: Tensor) -> Tensor:
    """Return zero: nothing keeps the experts alive."""
    return log_probs.new_zeros(log_probs.shape[0])


BALANCINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "kl": kl_to_uniform,
    "variance-of-sum": variance_of_sum,
    "none": none,
}
