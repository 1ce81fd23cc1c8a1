"""Results of training: statistics of an epoch, failures of runs, and the trained population."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.models.mixture import Mixture


@dataclass(frozen=True)
class TrainingFailure:
    """The first step at which the loss of a run was not finite."""

    epoch: int
    """Counts from 1."""
    step: int
    """Counts from 1, over all epochs."""
    reason: str


@dataclass(frozen=True)
class EpochStats:
    """Statistics of one epoch; `fit` passes them to `on_epoch`."""

    epoch: int
    """Counts from 1."""
    epochs: int
    """Number of epochs of the whole training."""
    model: Mixture
    losses: list[float]
    """Mean objective over the epoch, one per run, in nats per image; NaN for a failed run."""
    gate_losses: list[float]
    """Mean of the part of the objective that the gate is trained on; all of it if experts steer the gate."""
    temperatures: list[float]
    """Gate temperature at the end of the epoch, one per run."""
    failures: list[TrainingFailure | None]
    """One per run; None for a run that has not failed."""
    origins: Tensor
    """Index that each expert had at the start of training, before pruning, [R, K]."""


@dataclass(frozen=True)
class FitResult:
    """A trained population."""

    model: Mixture
    configs: tuple[RunConfig, ...]
    failures: list[TrainingFailure | None]
    """One per run; None for a run that did not fail."""
    seconds: float
    """Wall time of the training steps of all runs, without evaluation."""
    images_per_second: float
    """Training images per second, summed over the runs."""
    origins: Tensor
    """Index that each expert had at the start of training, before pruning, [R, K]."""


@dataclass(frozen=True)
class Losses:
    """Losses of one training step, in nats per image."""

    total: Tensor
    """The objective plus the weighted consistency loss, [R]."""
    gate: Tensor
    """The part that the gate is trained on, [R]; all of it if experts steer the gate."""
