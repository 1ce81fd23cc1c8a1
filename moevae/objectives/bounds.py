"""Bounds on log p(x) from the ELBOs of the experts and the gate, in nats per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_joint(expert_elbo: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return ELBO_k + log pi_k, a bound on log p(x, k), [R, K, B].

    Args:
        expert_elbo: ELBO_k, [R, K, B].
        log_prior: log pi, [R, K] or [K]; None is the uniform prior.
    """
    if log_prior is None:
        return expert_elbo - math.log(expert_elbo.shape[1])
    return expert_elbo + log_prior.unsqueeze(-1)


def mixture_elbo(expert_elbo: Tensor, log_q: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return the mixture ELBO, sum_k q ELBO_k - KL(q || pi), a bound on log p(x), [R, B].

    Args:
        expert_elbo: ELBO_k, [R, K, B].
        log_q: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K] or [K]; None is the uniform prior.
    """
    q = log_q.exp()
    return torch.where(q > 0, q * (log_joint(expert_elbo, log_prior) - log_q), 0).sum(1)


def marginal_elbo(expert_elbo: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return log sum_k pi_k exp(ELBO_k), the mixture ELBO of the optimal gate, [R, B].

    It is a bound on log p(x) for exact ELBOs. For ELBOs estimated from samples of z it is biased upward, and
    with one sample it is not a bound; `moevae.evaluation.marginal` corrects the bias.

    Args:
        expert_elbo: ELBO_k, [R, K, B].
        log_prior: log pi, [R, K] or [K]; None is the uniform prior.
    """
    return log_joint(expert_elbo, log_prior).logsumexp(1)


def posterior_log_probs(expert_elbo: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return log r_k with r_k proportional to pi_k exp(ELBO_k), the optimal gate, [R, K, B].

    Args:
        expert_elbo: ELBO_k, [R, K, B].
        log_prior: log pi, [R, K] or [K]; None is the uniform prior.
    """
    return log_joint(expert_elbo, log_prior).log_softmax(1)


def map_elbo(expert_elbo: Tensor, assignments: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return ELBO_k* + log pi_k*, the mixture ELBO of a one-hot gate, [R, B].

    Args:
        expert_elbo: ELBO_k, [R, K, B].
        assignments: the chosen expert k* of each image, [R, B].
        log_prior: log pi, [R, K] or [K]; None is the uniform prior.
    """
    return log_joint(expert_elbo, log_prior).gather(1, assignments.unsqueeze(1)).squeeze(1)
