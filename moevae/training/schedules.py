"""Schedules of the gate temperature and of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from moevae.config.schema import RoutingConfig, RunConfig, TrainConfig
from moevae.models.gate import Gate
from moevae.utils.devices import sent

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "constant": lambda start, end, progress: start,
    "linear": lambda start, end, progress: start + (end - start) * progress,
    "cosine": lambda start, end, progress: end + (start - end) * (1 + math.cos(math.pi * progress)) / 2,
    "exponential": lambda start, end, progress: start * (end / start) ** progress,
}
"""Functions from (initial value, final value, fraction of training in [0, 1]) to a value."""


def temperature(routing: RoutingConfig, progress: float) -> float:
    """Return the gate temperature at a point of training.

    Args:
        routing: the schedule with its initial and final value.
        progress: fraction of training, 0 at the first step and 1 at the last.
    """
    return SCHEDULES[routing.schedule](routing.temperature, routing.final_temperature, progress)


def temperatures(configs: Sequence[RunConfig], progress: float, gate: Gate) -> Tensor:
    """Return the gate temperature of each run at a point of training.

    Args:
        configs: one per run, with the same schedule.
        progress: fraction of training, 0 at the first step and 1 at the last.
        gate: the gate of the runs; it has the temperatures if the schedule is `learned`.

    Returns:
        Temperatures, [R].
    """
    if configs[0].routing.schedule == "learned":
        return gate.temperature
    return sent([temperature(config.routing, progress) for config in configs], gate.expert_bias.device)


def learning_rate(train: TrainConfig, progress: float) -> float:
    """Return the learning rate at a point of training.

    Args:
        train: the schedule with its initial and final value.
        progress: fraction of training, 0 at the first step and 1 at the last.
    """
    move = SCHEDULES[train.learning_rate_schedule]
    return move(train.learning_rate, train.final_learning_rate, progress)
