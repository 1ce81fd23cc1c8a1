"""Revival of starved experts: an expert that hardly any image trains becomes a noisy copy of the largest one.

The load of an expert is its share of the weights of the losses over an epoch. It uses no labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moevae.models.mixture import Mixture, select_experts
from moevae.nn.stacked import Stacked
from moevae.utils.rng import generator

NOISE = 0.05
"""Standard deviation of the factors, around 1, that multiply the weights of a copy."""


def donors(load: Tensor, share: float) -> Tensor:
    """Choose the expert whose weights each expert gets: its own index, or that of a larger expert.

    Starved experts, the smallest first, become copies of the expert with the largest load, which the two then
    divide equally.

    Args:
        load: load of each expert, in any unit, [R, K].
        share: share of an equal load, 1/K, below which an expert is starved.

    Returns:
        Indices, [R, K] int64.
    """
    chosen = torch.arange(load.shape[1]).repeat(len(load), 1)
    for run, loads in enumerate(load.cpu().double()):
        if not (loads.isfinite().all() and loads.sum() > 0):
            continue
        shares = loads / loads.sum()
        starved = [k for k in shares.argsort(stable=True).tolist() if shares[k] < share / len(shares)]
        for expert in starved:
            largest = int(shares.argmax())
            chosen[run, expert] = chosen[run, largest]  # which may be a copy itself
            shares[[largest, expert]] = shares[largest] / 2
    return chosen


@torch.no_grad()
def revived_weights(model: Mixture, chosen: Tensor, stream: str) -> dict[str, Tensor]:
    """Return the weights of a population after revival; experts that keep their index keep their weights.

    Args:
        model: the population.
        chosen: the result of `donors`, [R, K] int64.
        stream: name of the random stream of the noise.
    """
    state = select_experts(model, model.state_dict(), chosen.to(model.device))
    sources = [generator(seed, stream) for seed in model.seeds]
    for name, copied in masks(model, chosen).items():
        value = state[name]
        for run, source in enumerate(sources):
            if copied[run].any():
                noise = torch.randn(copied.shape[1], generator=source).to(value)
                value[run] *= 1 + NOISE * copied[run].to(value) * noise
    return state


def revived_moments(
    model: Mixture, moments: Mapping[str, Mapping[str, Tensor]], chosen: Tensor
) -> dict[str, dict[str, Tensor]]:
    """Return the moments of Adam after revival.

    A copy has no momentum. It has the second moments of its donor: if these were zero, too, without a
    correction of their bias, its first steps would be three times as long as usual.

    Args:
        model: the population.
        moments: the moments by their name in torch, then by the name of the parameter.
        chosen: the result of `donors`, [R, K] int64.
    """
    copied = masks(model, chosen)
    found = {}
    for kind, values in moments.items():
        kept = dict(values)
        if kind != "step":
            kept = select_experts(model, values, chosen.to(model.device))
        if kind == "exp_avg":
            kept |= {
                name: kept[name] * (1 - mask.to(kept[name])) for name, mask in copied.items() if name in kept
            }
        found[kind] = kept
    return found


def masks(model: Mixture, chosen: Tensor) -> dict[str, Tensor]:
    """Return which values of each parameter belong to a copy, in the layout of the parameter, [R, size] each.

    Args:
        model: the population.
        chosen: the result of `donors`, [R, K] int64.
    """
    copied = chosen != torch.arange(chosen.shape[1])
    found = {}
    for prefix, module in model.named_modules():
        if isinstance(module, Stacked):
            for name in module.shapes:
                if (mask := module.of_experts(name, copied)) is not None:
                    found[f"{prefix}._{name}"] = mask
    return found


def count_revived(chosen: Tensor) -> list[int]:
    """Return the number of copies in each run.

    Args:
        chosen: the result of `donors`, [R, K] int64.

    Returns:
        One number per run.
    """
    counts: Sequence[int] = (chosen != torch.arange(chosen.shape[1])).sum(1).tolist()
    return list(counts)
