"""Samples of z, importance weights, and the two terms of an expert's bound.

References:
    Kingma, Welling (2014), auto-encoding variational Bayes.
    Burda, Grosse, Salakhutdinov (2016), importance weighted autoencoders.
"""

from __future__ import annotations

import math

from torch import Tensor

from moevae.distributions import kl_standard_normal


def reparameterize(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return samples of z by reparameterization: z = mu + exp(logvar / 2) noise.

    Args:
        mu: means, [..., Z].
        logvar: log-variances, [..., Z].
        noise: standard normal draws, [..., S, Z].

    Returns:
        Samples, [..., S, Z].
    """
    return mu.unsqueeze(-2) + (0.5 * logvar).exp().unsqueeze(-2) * noise


def log_weights(
    recon: Tensor, mu: Tensor, logvar: Tensor, noise: Tensor, log_prior: Tensor | None = None
) -> Tensor:
    """Return the log importance weight of each sample, log p(x, z) - log q(z|x).

    Args:
        recon: log p(x|z), [..., S].
        mu: mean of q(z|x), [..., Z].
        logvar: log-variance of q(z|x), [..., Z].
        noise: standard normal draws that z was computed from, [..., S, Z].
        log_prior: log p(z), [..., S]; None for the standard normal distribution.

    Returns:
        Log weights in nats, [..., S].
    """
    if log_prior is not None:
        constant = mu.shape[-1] * math.log(2 * math.pi)
        return recon + log_prior + 0.5 * ((logvar.unsqueeze(-2) + noise.square()).sum(-1) + constant)
    z = reparameterize(mu, logvar, noise)
    return recon + 0.5 * (logvar.unsqueeze(-2) + noise.square() - z.square()).sum(-1)


def expert_terms(
    recon: Tensor,
    mu: Tensor,
    logvar: Tensor,
    noise: Tensor,
    bound: str,
    log_prior: Tensor | None = None,
    kl_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return the reconstruction term and the divergence term of a bound, whose difference is the bound.

    For `elbo`, the divergence term is KL(q(z|x) || p(z)), estimated from the samples if p(z) is learned. For
    `iwae`, the bound is log mean_s p(x, z_s) / q(z_s|x).

    Args:
        recon: log p(x|z), [..., S].
        mu: mean of q(z|x), [..., Z].
        logvar: log-variance of q(z|x), [..., Z].
        noise: standard normal draws that z was computed from, [..., S, Z].
        bound: `elbo` or `iwae`.
        log_prior: log p(z), [..., S]; None for the standard normal distribution.
        kl_weight: factor of log p(z) - log q(z|x); with another than 1, the difference is no bound.

    Returns:
        log p(x|z), averaged over the samples, and the divergence term, in nats, [...] each.

    References:
        Burda, Grosse, Salakhutdinov (2016), importance weighted autoencoders.
    """
    mean = recon.mean(-1)
    if bound == "elbo" and log_prior is None:
        kl_z = kl_standard_normal(mu, logvar)
        return mean, kl_z if kl_weight == 1 else kl_weight * kl_z
    weights = log_weights(recon, mu, logvar, noise, log_prior)
    if kl_weight != 1:
        weights = recon + kl_weight * (weights - recon)
    if bound == "elbo":
        return mean, (recon - weights).mean(-1)
    return mean, mean - (weights.logsumexp(-1) - math.log(weights.shape[-1]))
