"""Losses that keep experts from dying: zero where the batch shares its images as the prior pi does.

A new balancing loss is a function of log q(k|x), [R, K, B], and log pi, [R, K], that returns one number a
run, [R], and a line in BALANCINGS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moevae.config import RunConfig
from moevae.densities import kl_categorical


def log_importance(log_probs: Tensor) -> Tensor:
    """Return log q_bar, the mean probability of each expert over the batch, [R, K]."""
    return log_probs.logsumexp(-1) - math.log(log_probs.shape[-1])


def log_priors(configs: Sequence[RunConfig]) -> Tensor:
    """Return log pi, the prior over experts of each run, [R, K], in float64."""
    uniform = (1.0,) * configs[0].model.num_experts
    priors = [config.objective.balance_prior or uniform for config in configs]
    return torch.tensor(priors, dtype=torch.float64).log().log_softmax(-1)


def kl_to_prior(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return KL(q_bar || pi) in nats, between 0 and -ln min pi: ln K where pi is uniform."""
    return kl_categorical(log_importance(log_probs), log_prior)


def variance_of_sum(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return Var_k(sum over the batch of q(k|x)), biased, as the 2019 article has it.

    It equals (B / K)^2 CV^2: its strength moves with the batch size B. Sums are relative to K pi, the
    variance is weighted by pi.
    """
    prior = log_prior.exp()
    relative = log_probs.exp().sum(-1) / (prior.shape[-1] * prior)  # [R, K]
    even = log_probs.shape[-1] / prior.shape[-1]
    return (prior * (relative - even).square()).sum(-1)


def none(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return zero: nothing keeps the experts alive."""
    return log_probs.new_zeros(log_probs.shape[0])


BALANCINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": kl_to_prior,
    "variance-of-sum": variance_of_sum,
    "none": none,
}
