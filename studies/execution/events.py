"""Progress events of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """The progress of a population after an epoch."""

    epoch: int
    """The number of the epoch, from 1."""
    epochs: int
    losses: list[float]
    """Mean objective of each run, in nats per image."""
    metrics: dict[str, float]
    """Metrics of the validation split, averaged over runs that have not failed."""
