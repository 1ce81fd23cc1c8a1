"""Pruning of extra experts: training starts with more experts than asked for and drops the least useful.

A mixture explains images less well without one of its experts. Pruning removes the expert whose absence
lowers the marginal bound least. It sees no labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.models.mixture import Mixture

IMAGES = 4096
"""Training images that judge the experts."""

_CHUNK = 256


def scheduled_experts(config: RunConfig, progress: float) -> int:
    """Return how many experts are left after that share of training: fewer in equal steps."""
    train = config.train
    length = train.pruning_end - train.pruning_start
    left = (train.pruning_end - progress) / length if length else float(progress < train.pruning_end)
    return config.model.num_experts + math.ceil(train.extra_experts * min(1.0, max(0.0, left)) - 1e-9)


@torch.no_grad()
def kept_experts(model: Mixture, images: Tensor, count: int) -> Tensor:
    """Return the experts of each run to keep, in order, [R, count].

    Experts are removed one by one: each time the one without which the mean of log sum_k exp(ELBO_k), at the
    mean latent, falls least.

    Args:
        model: the population.
        images: gray, [N, D], N at most `IMAGES`.
        count: experts to keep.
    """
    runs, experts = len(model.seeds), model.config.num_experts
    parts = []
    for x in images.to(model.device).split(_CHUNK):
        noise = x.new_zeros(runs, experts, len(x), model.latent_size)
        recon, kl_z = model.experts.dense(x.expand(runs, *x.shape), noise)
        parts.append(recon - kl_z)
    bounds = torch.cat(parts, -1).double()  # [R, K, N]
    return torch.stack([_greedy(each, count) for each in bounds])


def _greedy(bounds: Tensor, count: int) -> Tensor:
    """Return the experts to keep, [count]; bounds [K, N]."""
    kept = list(range(len(bounds)))
    while len(kept) > count:
        without = [
            bounds[[other for other in kept if other != expert]].logsumexp(0).mean() for expert in kept
        ]
        del kept[int(torch.stack(without).nan_to_num(nan=math.inf).argmax())]
    return torch.tensor(kept, device=bounds.device)
