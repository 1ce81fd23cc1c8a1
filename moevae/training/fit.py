"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images
from moevae.models.mixture import Mixture
from moevae.training.continuation import with_start
from moevae.training.population import Population
from moevae.training.results import EpochStats, FitResult
from moevae.training.trainer import Trainer
from moevae.utils import devices


class Snapshots(Protocol):
    """Storage for the state of a population during training."""

    def restore(self, trainer: Trainer | Population) -> None:
        """Restore the last state, if there is one.

        Args:
            trainer: the trainer or population, before its first epoch.
        """
        ...

    def save(self, trainer: Trainer | Population) -> None:
        """Save the current state, if a snapshot is due.

        Args:
            trainer: the trainer or population, between two epochs.
        """
        ...


def fit(
    configs: Sequence[RunConfig],
    images: Images,
    *,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[EpochStats], None] | None = None,
    assignments: Tensor | None = None,
    start: Mixture | None = None,
    cuda_graph: bool = False,
) -> FitResult:
    """Train a population; each run gets the same numbers as if it were trained alone.

    Denormals are flushed to zero during training (`moevae.utils.devices.cpu_settings`); no other state of the
    process changes. Your own program trains faster after `moevae.utils.devices.prepare()`.

    Args:
        configs: one per run; they may differ in `moevae.config.schema.PER_RUN` only.
        images: the data set; training reads its training split only.
        device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
        on_epoch: called after each epoch; its time does not count as training time.
        assignments: expert of each training image, [R, N] int64. It replaces the gate, which is then not
            trained; baselines use it. None trains the gate.
        start: one trained run, such as `load(path).model`, whose weights all runs start from; the
            configurations that are returned name them in `train.start`. The optimizer and the random
            streams start as in any training. `moevae.training.continuation.continued` returns a
            configuration with the final values of the schedules of a run. None initializes the weights.
        cuda_graph: whether steps on a CUDA device are recorded and replayed as a CUDA graph. Not possible
            with sparse routing, `objective.expert_weights=map` or `train.revival`.

    Returns:
        The trained population.

    Raises:
        TypeError: `configs` is not a list of configurations, or `images` are not `Images`.
        ConfigError: there is no configuration, their shapes differ, the device has too little memory, or a
            CUDA graph is not possible.
        ValueError: the assignments have another shape or invalid values.

    Examples:
        >>> import moevae
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
        >>> fit = moevae.fit([config], moevae.load_images(config.data))
        >>> fit.failures
        [None]
    """
    configs = configs if start is None else with_start(configs, start)
    trainer = Trainer(
        configs, images, devices.resolve(str(device)), assignments, start=start, cuda_graph=cuda_graph
    )  # initialize
    return train(trainer, on_epoch=on_epoch)


def train(
    trainer: Trainer | Population,
    *,
    snapshots: Snapshots | None = None,
    on_epoch: Callable[[EpochStats], None] | None = None,
) -> FitResult:
    """Train an initialized population up to its last epoch.

    Args:
        trainer: the population.
        snapshots: where to restore the population from, and save it to; None does neither.
        on_epoch: called after each epoch; its time does not count as training time.

    Returns:
        The trained population.
    """
    if snapshots:
        snapshots.restore(trainer)
    while not trainer.done:
        stats = trainer.epoch()  # one `Trainer.step` per batch
        if on_epoch:
            on_epoch(stats)  # evaluate, report, or stop by raising
        if snapshots and not trainer.done:
            snapshots.save(trainer)
    return trainer.result()
