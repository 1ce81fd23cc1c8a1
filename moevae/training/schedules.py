"""Schedules of the gate temperature and the learning rate.

A schedule is a function of the first value, the last value and the progress in [0, 1], registered in
SCHEDULES. The setting `routing.temperature_schedule` may also be `learned`, which is not a function
of progress.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from moevae.config.registry import SCHEDULES
from moevae.config.schema import RoutingConfig, RunConfig, TrainConfig
from moevae.models.gate import Gate
from moevae.utils.devices import to_device


@SCHEDULES.register("constant")
def constant(start: float, end: float, progress: float) -> float:
    """Return `start`.

    Args:
        start: the first value.
        end: the last value.
        progress: fraction of training that is done, in [0, 1].
    """
    return start


@SCHEDULES.register("linear")
def linear(start: float, end: float, progress: float) -> float:
    """Return the value on the straight line from `start` to `end`.

    Args:
        start: the first value.
        end: the last value.
        progress: fraction of training that is done, in [0, 1].
    """
    return start + (end - start) * progress


COOLDOWN = 0.3
"""Share of training over which `cooldown` falls."""


@SCHEDULES.register("cooldown")
def cooldown(start: float, end: float, progress: float) -> float:
    """Return `start` until the last 30 % of training, then the straight line to `end`.

    Args:
        start: the first value.
        end: the last value.
        progress: fraction of training that is done, in [0, 1].

    References:
        Hagele et al. (2024), scaling laws and compute-optimal training beyond fixed training durations.
    """
    return linear(start, end, max(0.0, progress - (1 - COOLDOWN)) / COOLDOWN)


@SCHEDULES.register("cosine")
def cosine(start: float, end: float, progress: float) -> float:
    """Return the value on half a cosine wave, level at both ends.

    Args:
        start: the first value.
        end: the last value.
        progress: fraction of training that is done, in [0, 1].
    """
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@SCHEDULES.register("exponential")
def exponential(start: float, end: float, progress: float) -> float:
    """Return the value that changes by the same factor in equal steps.

    Args:
        start: the first value.
        end: the last value.
        progress: fraction of training that is done, in [0, 1].
    """
    return start * (end / start) ** progress


STAGES = 8
"""Stages of `iwae`; each is three times as long as the one before."""


@SCHEDULES.register("iwae")
def iwae(start: float, end: float, progress: float) -> float:
    """Return the value of stage i of eight, which takes 3^i of 3280 parts: start (end / start)^(i / 7).

    Over 3280 epochs, and to a tenth of the first value, it is the schedule of the paper.

    Args:
        start: the first value.
        end: the last value.
        progress: fraction of training that is done, in [0, 1].

    References:
        Burda, Grosse, Salakhutdinov (2016), importance weighted autoencoders.
    """
    parts = (3**STAGES - 1) // 2
    stage = sum(progress * parts >= (3**index - 1) / 2 for index in range(1, STAGES))
    return exponential(start, end, stage / (STAGES - 1))


def temperature(routing: RoutingConfig, progress: float) -> float:
    """Return the gate temperature at a point of training.

    Args:
        routing: the schedule with its initial and final value.
        progress: fraction of training, 0 at the first step and 1 at the last.
    """
    return SCHEDULES[routing.temperature_schedule](routing.temperature, routing.final_temperature, progress)


def temperatures(configs: Sequence[RunConfig], progress: float, gate: Gate) -> Tensor:
    """Return the gate temperature of each run at a point of training.

    Args:
        configs: one per run, with the same schedule.
        progress: fraction of training, 0 at the first step and 1 at the last.
        gate: the gate of the runs; it has the temperatures if the schedule is `learned`.

    Returns:
        Temperatures, [R].
    """
    if configs[0].routing.temperature_schedule == "learned":
        return gate.temperature
    return to_device([temperature(config.routing, progress) for config in configs], gate.expert_bias.device)


def learning_rate(train: TrainConfig, progress: float) -> float:
    """Return the learning rate at a point of training.

    Args:
        train: the schedule with its initial and final value.
        progress: fraction of training, 0 at the first step and 1 at the last.
    """
    move = SCHEDULES[train.learning_rate_schedule]
    return move(train.learning_rate, train.final_learning_rate, progress)


def kl_weight(train: TrainConfig, progress: float) -> float:
    """Return the factor of the divergence of z at a point of training.

    Args:
        train: the settings of training.
        progress: fraction of training, 0 at the first step and 1 at the last.
    """
    return min(1.0, progress / train.kl_warmup) if train.kl_warmup else 1.0
