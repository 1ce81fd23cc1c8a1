"""Progress events of training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moevae.evaluation.results import Split


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


@dataclass(frozen=True)
class EvaluationReport:
    """The progress of the IWAE bound of a population after a block of images."""

    split: Split
    images: int
    """Number of evaluated images, of all runs together."""
    total: int
    """Number of images to evaluate, of all runs together."""


Event = EpochReport | EvaluationReport

OnEvent = Callable[[Event], None]
"""Listener that is called after each epoch, and after each block of images of an evaluation."""
