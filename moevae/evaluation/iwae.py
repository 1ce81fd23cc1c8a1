"""Importance-weighted bounds on log p(x), in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.evaluation.log_weights import BLOCK, block_draws, images_at_once, row_weights
from moevae.models.dispatch import Dispatch
from moevae.models.experts import Experts
from moevae.utils.rng import RunGenerators

SAMPLE_DIVISORS = {"hundredth": 100, "tenth": 10}
"""Divisors of the number of samples whose bounds show how the bound still rises."""


@torch.no_grad()
def iwae_bounds(
    experts: Experts,
    config: RunConfig,
    seen: Tensor,
    log_joint: Tensor,
    log_prior: Tensor,
    split: str,
    room: int,
    on_images: Callable[[int], None] | None = None,
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
        on_images: called after each block of images, with the number of images so far.

    Returns:
        Bounds of the images, [evaluation.iwae_images] or fewer.
    """
    asked = config.evaluation
    noise = RunGenerators([config.seed], f"importance samples of {split}", seen.device)
    choices = min(asked.iwae_experts or len(log_prior), len(log_prior))
    chunk = max(1, images_at_once(room, seen.device) // (choices * BLOCK))
    kept = seen[: asked.iwae_images]
    parts = []
    for x, likely in zip(kept.split(BLOCK), log_joint[:, : len(kept)].split(BLOCK, dim=1), strict=True):
        chosen = likely.topk(choices, dim=0).indices.sort(0).values
        parts.append(
            iwae_bound(experts, x[None], chosen[None], log_prior[None], noise, asked.iwae_samples, chunk)
        )
        if on_images:
            on_images(sum(len(each.bound[0]) for each in parts))
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
    draw = block_draws(noise, *chosen.shape[1:])
    prior = log_prior.double().unsqueeze(-1).expand(-1, -1, x.shape[1]).gather(1, chosen)  # [R, C, B]

    def mean(total: Tensor, count: int) -> Tensor:
        """Return the bound from the sum of the weights of some samples."""
        return (dispatch.choices(total) - math.log(count) + prior).logsumexp(1)

    groups = {name: _Groups(samples // each) for name, each in SAMPLE_DIVISORS.items() if samples >= each}
    total = squares = None
    # Sequential: the rounding of the sum must not depend on the chunk.
    for weight in row_weights(experts, x, dispatch, draw, samples, chunk):
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
