"""How a gate's temperature moves over training."""

from __future__ import annotations

import math
from collections.abc import Callable

from moevae.config import RoutingConfig

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "constant": lambda start, end, progress: start,
    "linear": lambda start, end, progress: start + (end - start) * progress,
    "cosine": lambda start, end, progress: end + (start - end) * (1 + math.cos(math.pi * progress)) / 2,
    "exponential": lambda start, end, progress: start * (end / start) ** progress,
}
"""Each maps (first temperature, last temperature, progress in [0, 1]) to a temperature."""


def temperature(routing: RoutingConfig, progress: float) -> float:
    """Return the temperature at that share of training, 0 at the first step and 1 at the last."""
    return SCHEDULES[routing.schedule](routing.temperature, routing.final_temperature, progress)
