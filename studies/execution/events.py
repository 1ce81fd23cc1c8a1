"""What a population reports while it trains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """What a population tells while it trains."""

    epoch: int
    """Counts from 1."""
    epochs: int
    losses: list[float]
    """Mean objective, one a run, nats per image."""
    metrics: dict[str, float]
    """On the validation split, the mean over runs that have not failed."""
