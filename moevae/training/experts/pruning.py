"""Pruning of extra experts: training starts with more experts than requested and removes the least useful.

Pruning removes the expert whose removal lowers the marginal bound least. It uses no labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.models.mixture import Mixture

IMAGES = 4096
"""Number of training images that the marginal bound is computed on."""

_CHUNK = 256


def scheduled_experts(config: RunConfig, progress: float) -> int:
    """Return the number of experts that remain at a point of training; it falls in equal steps.

    Args:
        config: the run.
        progress: fraction of training, from 0 to 1.
    """
    train = config.train
    length = train.pruning_end - train.pruning_start
    left = (train.pruning_end - progress) / length if length else float(progress < train.pruning_end)
    return config.model.num_experts + math.ceil(train.extra_experts * min(1.0, max(0.0, left)) - 1e-9)


@torch.no_grad()
def kept_experts(model: Mixture, images: Tensor, count: int) -> Tensor:
    """Choose the experts of each run to keep.

    Experts are removed one by one. Each time, the expert is removed whose removal lowers the mean of
    log sum_k exp(ELBO_k) least; ELBO_k is computed at the mean latent.

    Args:
        model: the population.
        images: images in grayscale, N at most `IMAGES`, [N, D].
        count: number of experts to keep.

    Returns:
        Indices of the kept experts in ascending order, [R, count].
    """
    runs = len(model.seeds)
    parts = [model.experts.scores(x.expand(runs, *x.shape)) for x in images.to(model.device).split(_CHUNK)]
    bounds = torch.cat(parts, -1).double()  # [R, K, N]
    return torch.stack([_greedy(each, count) for each in bounds])


def _greedy(bounds: Tensor, count: int) -> Tensor:
    """Return the indices of the experts to keep, [count]; bounds: ELBO_k of each image, [K, N]."""
    kept = list(range(len(bounds)))
    while len(kept) > count:
        without = [
            bounds[[other for other in kept if other != expert]].logsumexp(0).mean() for expert in kept
        ]
        del kept[int(torch.stack(without).nan_to_num(nan=math.inf).argmax())]
    return torch.tensor(kept, device=bounds.device)
