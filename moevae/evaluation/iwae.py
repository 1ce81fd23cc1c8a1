"""Bounds on log p(x) that need many samples of z, in bounded memory: importance-weighted and marginal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.models.dispatch import Dispatch
from moevae.models.expert_bound import log_weights, reparameterize
from moevae.models.experts import Experts
from moevae.objectives.bounds import marginal_elbo, mixture_elbo, posterior_log_probs
from moevae.utils.rng import RunGenerators

BLOCK = 128
"""Images whose noise is drawn together, so that the noise of an image depends on its index only."""

SAMPLE_CHUNK = 32
"""Samples of z whose noise is drawn together; more samples need no more memory."""

MARGINAL_SAMPLES = 32
"""Least number of samples of z per image and expert behind `marginal_bounds`."""

PILOT_SAMPLES = 4
"""Samples of z that determine which experts have a negligible posterior probability for an image."""

NEGLIGIBLE_NATS = 10.0
"""Distance from the best expert, in nats, beyond which (plus twice the noise) an expert is negligible."""

SAMPLE_DIVISORS = {"hundredth": 100, "tenth": 10}
"""Divisors of the number of samples whose bounds show how the bound still rises."""

_CACHED = 4 * BLOCK
"""Images that a core decodes at once, so that the decoded pixels stay in its cache."""


@torch.no_grad()
def iwae_bounds(
    experts: Experts,
    config: RunConfig,
    seen: Tensor,
    log_joint: Tensor,
    log_prior: Tensor,
    split: str,
    room: int,
) -> WeightedBounds:
    """Return the importance-weighted bounds of the first images of a split for one run; see `iwae_bound`.

    Args:
        experts: experts of this run only, so that the result does not depend on other runs.
        config: the configuration of this run.
        seen: images of the split as the likelihood sees them, [N, D].
        log_joint: ELBO_k + log pi_k; it selects the experts of an image, [K, N].
        log_prior: log pi, [K].
        split: name of the split.
        room: number of images that can be decoded at once; it affects memory only.

    Returns:
        Bounds of the images, [evaluation.iwae_images] or fewer.
    """
    asked = config.evaluation
    noise = RunGenerators([config.seed], f"importance samples of {split}", seen.device)
    choices = min(asked.iwae_experts or len(log_prior), len(log_prior))
    chunk = max(1, min(room, _CACHED if seen.device.type == "cpu" else room) // (choices * BLOCK))
    kept = seen[: asked.iwae_images]
    parts = []
    for x, likely in zip(kept.split(BLOCK), log_joint[:, : len(kept)].split(BLOCK, dim=1), strict=True):
        chosen = likely.topk(choices, dim=0).indices
        parts.append(
            iwae_bound(experts, x[None], chosen[None], log_prior[None], noise, asked.iwae_samples, chunk)
        )
    return WeightedBounds(
        torch.cat([each.bound[0] for each in parts]),
        torch.cat([each.ess[0] for each in parts]),
        {name: torch.cat([each.fewer[name][0] for each in parts]) for name in parts[0].fewer},
    )


@dataclass(frozen=True)
class WeightedBounds:
    """Importance-weighted bounds of images, and how well their weights estimate them."""

    bound: Tensor
    """The bound from all S samples in nats, [R, B]."""
    ess: Tensor
    """Effective number of samples of z, (sum w)^2 / sum w^2 over the experts and samples, [R, B]."""
    fewer: dict[str, Tensor]
    """Bounds from fewer samples by the key of `SAMPLE_DIVISORS`, averaged over groups of the same
    samples, [R, B]."""

    def metrics(self) -> dict[str, Tensor]:
        """Return the metrics of a run, as scalars."""
        found = {
            "iwae_bound": self.bound.double().mean(),
            "iwae_ess": self.ess.mean(),
            "iwae_ess_tail": self.ess.quantile(0.01),
        }
        return found | {f"iwae_bound_{name}": bound.mean() for name, bound in self.fewer.items()}


@torch.no_grad()
def iwae_bound(
    experts: Experts,
    x: Tensor,
    chosen: Tensor,
    log_prior: Tensor,
    noise: RunGenerators,
    samples: int,
    chunk: int,
) -> WeightedBounds:
    """Return the importance-weighted bound log sum_k pi_k (1/S) sum_s p_k(x, z_ks) / q_k(z_ks|x).

    The bound is exact over the chosen experts and sampled over z. Its expectation is at most log p(x), and
    increases with S. Without some of the experts, positive terms are omitted; the bound is then lower, and
    still a bound. Images are encoded once. Memory does not grow with S.

    Args:
        experts: experts of all runs.
        x: images as the likelihood sees them, [R, B, D].
        chosen: distinct experts of each image, [R, C, B] int64.
        log_prior: log pi, [R, K].
        noise: random streams for z; each sample is drawn for whole blocks of images, so that the result does
            not depend on `chunk`.
        samples: S.
        chunk: samples that are decoded at once, R C B chunk images; it affects memory only.

    Returns:
        The bounds, [R, B] each.

    References:
        Burda, Grosse, Salakhutdinov (2016), importance weighted autoencoders.
    """
    dispatch = Dispatch.of(chosen, log_prior.shape[1])
    draw = _drawer(noise, *chosen.shape[1:])
    prior = log_prior.double().unsqueeze(-1).expand(-1, -1, x.shape[1]).gather(1, chosen)  # [R, C, B]

    def mean(total: Tensor, count: int) -> Tensor:
        """Return the bound from the sum of the weights of some samples."""
        return (dispatch.choices(total) - math.log(count) + prior).logsumexp(1)

    groups = {name: _Groups(samples // each) for name, each in SAMPLE_DIVISORS.items() if samples >= each}
    total = squares = None
    # Sequential: the rounding of the sum must not depend on the chunk.
    for weight in _weights(experts, x, dispatch, draw, samples, chunk):
        total = weight if total is None else torch.logaddexp(total, weight)
        squares = 2 * weight if squares is None else torch.logaddexp(squares, 2 * weight)
        for group in groups.values():
            group.add(weight, mean)
    assert total is not None
    assert squares is not None
    log_sum = (dispatch.choices(total) + prior).logsumexp(1)
    log_squares = (dispatch.choices(squares) + 2 * prior).logsumexp(1)
    ess = (2 * log_sum - log_squares).exp()
    return WeightedBounds(mean(total, samples), ess, {name: each.bound() for name, each in groups.items()})


class _Groups:
    """The mean of the bounds of groups of successive samples; samples beyond the last group are left out."""

    def __init__(self, size: int) -> None:
        self.size, self.added = size, 0
        self.total: Tensor | None = None
        self.bounds: Tensor | float = 0.0

    def add(self, weight: Tensor, mean: Callable[[Tensor, int], Tensor]) -> None:
        """Add the weights of one sample, [T]."""
        self.total = weight if self.total is None else torch.logaddexp(self.total, weight)
        self.added += 1
        if self.added % self.size == 0:
            self.bounds = self.bounds + mean(self.total, self.size)
            self.total = None

    def bound(self) -> Tensor:
        """Return the mean bound, [R, B]."""
        return torch.as_tensor(self.bounds) / (self.added // self.size)


def marginal_samples(config: RunConfig) -> int:
    """Return the number of samples of z per image and expert for `marginal_bounds`.

    Args:
        config: the configuration.
    """
    return max(MARGINAL_SAMPLES, config.evaluation.num_samples)


@torch.no_grad()
def marginal_bounds(
    experts: Experts,
    config: RunConfig,
    seen: Tensor,
    log_probs: Tensor,
    log_prior: Tensor,
    split: str,
    room: int,
) -> tuple[Tensor, Tensor]:
    """Return the marginal bound and the gap of the gate for the images of a split and one run.

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
        Bounds and gaps in nats, [N] float64 each.
    """
    noise = RunGenerators([config.seed], f"samples of the marginal bound of {split}", seen.device)
    samples, room = marginal_samples(config), min(room, _CACHED) if seen.device.type == "cpu" else room
    found = [
        marginal_bound(experts, x, own, log_prior, noise, samples, room)
        for x, own in zip(seen.split(BLOCK), log_probs.split(BLOCK, dim=1), strict=True)
    ]
    bounds, gaps = zip(*found, strict=True)
    return torch.cat(bounds), torch.cat(gaps)


@torch.no_grad()
def marginal_bound(
    experts: Experts,
    x: Tensor,
    log_probs: Tensor,
    log_prior: Tensor,
    noise: RunGenerators,
    samples: int,
    room: int,
) -> tuple[Tensor, Tensor]:
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
        Bounds and gaps in nats, [B] float64 each.

    References:
        Nowozin (2018), debiasing evidence approximations: on importance-weighted autoencoders and jackknife
        variational inference. The delta method removes the same order of the bias as its first jackknife.
    """
    prior = log_prior.double()
    draw = _drawer(noise, len(prior), len(x))
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
    lean = 0.5 * (posterior * (1 - posterior) * variance).sum(0)
    bound = marginal_elbo(elbo[None], prior)[0] - lean
    return bound, bound - mixture_elbo(elbo[None], log_probs[None].double(), prior)[0]


Draw = Callable[[int], Tensor]
"""A function from Z to one standard normal draw per chosen expert and image, [R, C, B, Z]."""


def _drawer(noise: RunGenerators, choices: int, batch: int) -> Draw:
    """Return a function that draws whole blocks and truncates them to the batch."""
    drawn = math.ceil(batch / BLOCK) * BLOCK
    return lambda latents: noise.normal(choices, drawn, latents)[:, :, :batch]


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
    weights = _weights(
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


def _weights(
    experts: Experts, x: Tensor, dispatch: Dispatch, draw: Draw, samples: int, chunk: int
) -> Iterator[Tensor]:
    """Yield log p_k(x, z) - log q_k(z|x) of the rows, [T] float64, one sample at a time."""
    rows = dispatch.images(x)  # [T, D]
    mu, logvar = experts.encode_rows(x, dispatch)
    context = experts.context_rows(x, dispatch)
    prior = experts.learned_prior()
    for start in range(0, samples, chunk):
        each = [draw(mu.shape[1]) for _ in range(start, min(start + chunk, samples))]
        draws = dispatch.rows(torch.stack(each, 3))  # [T, S, Z]
        z = reparameterize(mu, logvar, draws)
        recon = experts.recon_log_prob_rows(z, rows, dispatch, context)
        log_prior = None if prior is None else prior.log_prob_rows(z, dispatch.ends)
        yield from log_weights(recon, mu, logvar, draws, log_prior).double().unbind(1)
