"""Configurations, images and weights small enough for tests, and layers odd enough to find rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moevae.config.overrides import override
from moevae.config.schema import PER_RUN, RunConfig
from moevae.data.datasets import Images
from moevae.models.dispatch import draw_experts
from moevae.models.mixture import Mixture

HEIGHT, WIDTH = 5, 6

EVEN = {
    "model.num_experts": 4,
    "model.latent_dim": 4,
    "model.expert_hidden": (32,),
    "model.gate_hidden": (32,),
    "train.epochs": 2,
    "train.batch_size": 32,
}
ODD = EVEN | {
    "model.num_experts": 7,
    "model.latent_dim": 3,
    "model.expert_hidden": (33, 17),
    "model.gate_hidden": (29,),
}


def config(changes: dict[str, Any] | None = None, **sections: Any) -> RunConfig:
    """A small configuration; changes by dotted key."""
    return override(RunConfig(), {"model.gate_input": "target"} | EVEN | (changes or {}) | sections)


def population(
    sizes: dict[str, Any], kind: str = "soft", schedule: str = "exponential", **changes: Any
) -> list[RunConfig]:
    """Runs that differ in all that may differ."""
    base = config(sizes | changes, **{"routing.kind": kind, "routing.temperature_schedule": schedule})
    skewed = tuple(range(1, 1 + base.model.num_experts))
    scalars = [
        (0, 1.0, 20.0, (), 1.0, 1.0, 1.0, 1.0),
        (1, -0.3, 0.0, skewed, 0.5, 0.3, 0.5, 2.0),
        (2, 0.0, 3.0, skewed[::-1], 0.0, 0.0, 5.0, 0.1),
    ]
    if schedule == "learned":
        scalars = [(*each[:-1], 1.0) for each in scalars]
    return [override(base, dict(zip(PER_RUN, each, strict=True))) for each in scalars]


def images(
    train: int = 96,
    validation: int = 50,
    test: int = 70,
    seed: int = 0,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Images:
    """Gray noise, float32 in [0, 1]."""
    source = torch.Generator().manual_seed(seed)
    parts = [torch.rand(count, size[0] * size[1], generator=source) for count in (train, validation, test)]
    return Images("noise", "0" * 64, *size, *parts)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal draws, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mixture(
    run: RunConfig, size: tuple[int, int] = (HEIGHT, WIDTH), seeds: tuple[int, ...] = (0,)
) -> Mixture:
    """A float64 mixture whose biases are no longer zero, so that a forgotten bias is detected."""
    model = Mixture(run.model, size, seeds).double()
    each_bias(model, lambda bias: bias.copy_(normal(*bias.shape, seed=bias.numel()) / 3))
    return model


@torch.no_grad()
def each_bias(model: torch.nn.Module, change: Callable[[Tensor], Any]) -> None:
    """Change the biases of all stacked layers in place."""
    for layer in model.modules():
        if hasattr(layer, "bias"):
            change(layer.bias)


def drawn(uniform: Tensor) -> Callable[[Tensor], Tensor]:
    """The choice of experts that are drawn from the gate by uniform draws, [R, C, B]."""
    return lambda log_probs: draw_experts(log_probs, uniform)


def weights(model: Mixture, run: int) -> dict[str, Tensor]:
    """One run's share of every tensor, by name."""
    return {name: value[run] for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two runs' weights agree in every bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
