"""The marginal bound on log p(x) and the gap of the gate, from many samples of z in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.evaluation.log_weights import BLOCK, Draw, block_draws, images_at_once, row_weights
from moevae.models.dispatch import Dispatch
from moevae.models.experts import Experts
from moevae.objectives.bounds import marginal_elbo, mixture_elbo, posterior_log_probs
from moevae.utils.rng import RunGenerators

MARGINAL_SAMPLES = 32
"""Least number of samples of z per image and expert behind `marginal_bounds`."""

PILOT_SAMPLES = 4
"""Samples of z that determine which experts have a negligible posterior probability for an image."""

NEGLIGIBLE_NATS = 10.0
"""Distance from the best expert, in nats, beyond which (plus twice the noise) an expert is negligible."""


def marginal_samples(config: RunConfig) -> int:
    """Return the number of samples of z per image and expert for `marginal_bounds`.

    Args:
        config: the configuration.
    """
    return max(MARGINAL_SAMPLES, config.evaluation.num_samples)


@dataclass(frozen=True)
class MarginalBounds:
    """Bounds of images with the index of the expert summed out, in nats, float64."""

    bound: Tensor
    """The marginal bound, [B]."""
    gap: Tensor
    """Its distance from the mixture ELBO, KL(q || r), [B]."""
    log_joint: Tensor
    """ELBO_k + log pi_k, from the same samples, [K, B]."""


@torch.no_grad()
def marginal_bounds(
    experts: Experts,
    config: RunConfig,
    seen: Tensor,
    log_probs: Tensor,
    log_prior: Tensor,
    split: str,
    room: int,
) -> MarginalBounds:
    """Return the marginal bounds and the gaps of the gate for the images of a split and one run.

    See `marginal_bound`.

    Args:
        experts: experts of this run only, so that the result does not depend on other runs.
        config: the configuration of this run.
        seen: images of the split as the likelihood sees them, [N, D].
        log_probs: log q(k|x), [K, N].
        log_prior: log pi, [K].
        split: name of the split.
        room: number of images that can be decoded at once; it affects memory only.

    Returns:
        The bounds of the N images.
    """
    noise = RunGenerators([config.seed], f"samples of the marginal bound of {split}", seen.device)
    samples, room = marginal_samples(config), images_at_once(room, seen.device)
    found = [
        marginal_bound(experts, x, own, log_prior, noise, samples, room)
        for x, own in zip(seen.split(BLOCK), log_probs.split(BLOCK, dim=1), strict=True)
    ]
    return MarginalBounds(
        torch.cat([each.bound for each in found]),
        torch.cat([each.gap for each in found]),
        torch.cat([each.log_joint for each in found], 1),
    )


@torch.no_grad()
def marginal_bound(
    experts: Experts,
    x: Tensor,
    log_probs: Tensor,
    log_prior: Tensor,
    noise: RunGenerators,
    samples: int,
    room: int,
) -> MarginalBounds:
    """Estimate the marginal bound log sum_k pi_k exp(ELBO_k) and the gap of the gate, KL(q || r).

    The mean of log p_k(x, z) / q_k(z|x) over S samples estimates ELBO_k. Its noise, of variance v_k, raises
    the log-sum-exp by sum_k r_k (1 - r_k) v_k / 2 to first order in 1/S. This term, estimated from the same
    samples, is subtracted (the delta method); a bias of order 1/S^2 remains. The gap is the difference from
    the mixture ELBO of the same samples, so that their common noise cancels.

    A pilot of few samples determines the experts with a negligible posterior probability. These experts get
    as few new samples, and all others get S. The samples of the pilot are not reused, because the estimates
    would then depend on its selection.

    Args:
        experts: experts of the run.
        x: images as the likelihood sees them, [B, D].
        log_probs: log q(k|x), [K, B].
        log_prior: log pi, [K].
        noise: random streams for z of one run, as in `iwae_bound`.
        samples: S, at least 2.
        room: number of images that can be decoded at once; it affects memory only.

    Returns:
        The bounds of the images.

    References:
        Nowozin (2018), debiasing evidence approximations: on importance-weighted autoencoders and jackknife
        variational inference. The delta method removes the same order of the bias as its first jackknife.
    """
    prior = log_prior.double()
    draw = block_draws(noise, len(prior), len(x))
    pilot, variance = _elbos(
        experts, x, torch.ones_like(log_probs, dtype=torch.bool), draw, PILOT_SAMPLES, room
    )
    joint = pilot + prior.unsqueeze(-1)
    best, leader = joint.max(0)
    noise_of_both = (variance + variance.gather(0, leader.unsqueeze(0))).sqrt()
    near = joint > best - NEGLIGIBLE_NATS - 2 * noise_of_both
    parts = (
        _elbos(experts, x, near, draw, samples, room),
        _elbos(experts, x, ~near, draw, PILOT_SAMPLES, room),
    )
    elbo, variance = (torch.where(near, *pair) for pair in zip(*parts, strict=True))
    posterior = posterior_log_probs(elbo[None], prior)[0].exp()
    bias = 0.5 * (posterior * (1 - posterior) * variance).sum(0)
    bound = marginal_elbo(elbo[None], prior)[0] - bias
    gap = bound - mixture_elbo(elbo[None], log_probs[None].double(), prior)[0]
    return MarginalBounds(bound, gap, elbo + prior.unsqueeze(-1))


def _elbos(
    experts: Experts, x: Tensor, asked: Tensor, draw: Draw, samples: int, room: int
) -> tuple[Tensor, Tensor]:
    """Return the estimates of ELBO_k and their variances, [K, B] each; 0 where `asked` [K, B] is False."""
    found = torch.zeros(2, *asked.shape, dtype=torch.float64, device=asked.device)
    expert, image = asked.nonzero(as_tuple=True)  # [T]
    if not len(expert):
        return found[0], found[1]
    dispatch = Dispatch.of(expert[None, None], len(asked))
    chunk = max(1, room // len(expert))
    weights = row_weights(
        experts, x[image][None], dispatch, lambda z: draw(z)[:, expert, image][:, None], samples, chunk
    )
    first = next(weights)
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for weight in weights:
        apart = weight - first  # small, so that its squares lose no digits
        total += apart
        squares += apart.square()
    mean = total / samples
    variance = (squares / samples - mean.square()).clamp_min(0) / (samples - 1)
    found[0, expert, image] = dispatch.choices(first + mean)[0, 0]
    found[1, expert, image] = dispatch.choices(variance)[0, 0]
    return found[0], found[1]
