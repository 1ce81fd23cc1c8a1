"""Training and evaluation steps for benchmarks, and checks of their losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from sizes import Sizes
from torch import Tensor

from moevae.config.overrides import override
from moevae.config.schema import RunConfig
from moevae.objectives.routing import num_chosen
from moevae.training.batches import Batch
from moevae.training.trainer import Trainer

PATHS: dict[str, dict[str, Any]] = {
    "soft": {},
    "hard": {"routing.kind": "hard"},
    "top-1": {"routing.kind": "sampled"},
    "top-2": {"routing.kind": "sampled", "routing.num_sampled": 2},
    "top-k, k = 2": {"routing.kind": "top-k", "routing.k": 2},
    "soft, bfloat16": {"train.precision": "bfloat16"},
    "top-1, bfloat16": {"routing.kind": "sampled", "train.precision": "bfloat16"},
}
"""Routings and precisions, by the name of their row."""

_CONVOLUTIONS = {"model.expert_network": "conv", "model.expert_hidden": (16, 32)}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "perceptrons": {},
    "shared encoder": {"model.encoder": "shared"},
    "convolutions": _CONVOLUTIONS,
    "convolutions, top-1": _CONVOLUTIONS | {"routing.kind": "sampled"},
    "convolutions, bfloat16": _CONVOLUTIONS | {"train.precision": "bfloat16"},
}
"""Architectures of experts, by the name of their row."""


def training_step(
    sizes: Sizes,
    device: torch.device,
    changes: Mapping[str, Any] | None = None,
    runs: int = 1,
    *,
    compiled: bool = False,
) -> Callable[[], Tensor]:
    """Return a function that trains one step, data included, and returns the loss of each run."""
    configs = [sizes.config(changes, seed) for seed in range(runs)]
    training = Trainer(configs, sizes.images(), device)
    if compiled:
        compile_model(training)

    def endless() -> Iterator[Batch]:
        while True:
            yield from training.batches.epoch()

    feed = endless()
    return lambda: training.step(0, next(feed)).total


def compile_model(training: Trainer) -> None:
    """Compile the forward and the backward pass; on a GPU, replay them as CUDA graphs."""
    mode = "reduce-overhead" if training.device.type == "cuda" else None
    model = training.working.model
    model.forward = torch.compile(model.forward, dynamic=False, mode=mode)  # type: ignore[method-assign]


def chosen(changes: Mapping[str, Any]) -> int | None:
    """Return the number of experts computed for an image; None for all."""
    return num_chosen(override(RunConfig(), changes).routing)


def dtype_of(changes: Mapping[str, Any]) -> torch.dtype:
    """Return the data type of the matrix products."""
    return torch.bfloat16 if changes.get("train.precision") == "bfloat16" else torch.float32


def check(losses: list[Tensor], sizes: Sizes, rival: list[float] | None = None) -> None:
    """Raise AssertionError unless the losses are those of fair coins, the optimal model of noise.

    The bound on the log-probability of D fair coins is at best -D ln 2; the naive baseline agrees.
    """
    coins = sizes.side**2 * math.log(2)
    found = [float(loss.mean()) for loss in losses]
    assert all(0.95 * coins < loss < 1.5 * coins for loss in found), (coins, found)
    if rival:
        first = rival[0]
        assert abs(found[0] - first) < 0.25 * first, (found[0], first)
