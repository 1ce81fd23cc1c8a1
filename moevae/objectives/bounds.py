"""Bounds on log p(x) made of the experts' ELBOs and the gate, in nats per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_joint(expert_elbo: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return ELBO_k + log pi_k, a bound on log p(x, k), [R, K, B].

    Args:
        expert_elbo: ELBO_k, [R, K, B].
        log_prior: log pi, [R, K] or [K]; None is uniform.
    """
    if log_prior is None:
        return expert_elbo - math.log(expert_elbo.shape[1])
    return expert_elbo + log_prior.unsqueeze(-1)


def mixture_elbo(expert_elbo: Tensor, log_q: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return sum_k q ELBO_k - KL(q || pi), [R, B]: a bound on log p(x); log_q [R, K, B], see `log_joint`."""
    q = log_q.exp()
    return torch.where(q > 0, q * (log_joint(expert_elbo, log_prior) - log_q), 0).sum(1)


def tight_elbo(expert_elbo: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return log sum_k pi_k exp(ELBO_k), [R, B]: the mixture ELBO at its best gate; see `log_joint`.

    It is a bound on log p(x) where the ELBOs are exact. Where samples of z estimate them, it leans upward,
    and with one sample it is not a bound; `likelihood.marginal_bound` corrects for that.
    """
    return log_joint(expert_elbo, log_prior).logsumexp(1)


def log_responsibilities(expert_elbo: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return log r_k, r proportional to pi_k exp(ELBO_k), [R, K, B]: the gate's optimum; see `log_joint`."""
    return log_joint(expert_elbo, log_prior).log_softmax(1)


def hard_elbo(expert_elbo: Tensor, assignments: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return ELBO_k* + log pi_k*, [R, B], of chosen experts, [R, B]: a one-hot gate's mixture ELBO."""
    return log_joint(expert_elbo, log_prior).gather(1, assignments.unsqueeze(1)).squeeze(1)
