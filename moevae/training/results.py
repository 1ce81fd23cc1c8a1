"""Results of training: statistics of an epoch, failures of runs, and the trained population."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.models.mixture import Mixture


@dataclass(frozen=True)
class TrainingFailure:
    """The first step at which the loss of a run was not finite.

    Examples:
        >>> import moevae
        >>> config = moevae.override(
        ...     moevae.preset("digits"), {"train.epochs": 1, "train.learning_rate": 1e30}
        ... )
        >>> moevae.fit([config], moevae.load_images(config.data)).failures[0].epoch
        1
    """

    epoch: int
    """Counts from 1."""
    step: int
    """Counts from 1, over all epochs."""
    reason: str


@dataclass(frozen=True)
class EpochStats:
    """Statistics of one epoch; `fit` passes them to `on_epoch`.

    Examples:
        >>> import moevae
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 2})
        >>> images, curve = moevae.load_images(config.data), []
        >>> fit = moevae.fit([config], images, on_epoch=lambda stats: curve.append(stats.losses[0]))
        >>> curve[1] < curve[0]
        True
    """

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
    revived: list[int] = field(default_factory=list)
    """Number of experts revived at the end of the epoch, one per run; empty without `train.revival`."""


@dataclass(frozen=True)
class FitResult:
    """A trained population; `fit` returns it.

    Examples:
        >>> import moevae
        >>> base = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
        >>> configs = [moevae.override(base, {"seed": seed}) for seed in range(3)]
        >>> fit = moevae.fit(configs, moevae.load_images(base.data))
        >>> fit.model.seeds
        (0, 1, 2)
    """

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
