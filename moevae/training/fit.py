"""Training of a population from start to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images
from moevae.training.trainer import EpochStats, FitResult, Trainer
from moevae.utils import devices


def fit(
    configs: Sequence[RunConfig],
    images: Images,
    *,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[EpochStats], None] | None = None,
    assignments: Tensor | None = None,
) -> FitResult:
    """Train runs of one shape together; each gets the numbers that it would get alone.

    Denormals are flushed to zero while it computes (`moevae.utils.devices.steady_cpu`); nothing else of the
    process is changed. A program of your own trains faster after `moevae.utils.devices.prepare()`.

    Args:
        configs: one a run; they may differ in `moevae.config.schema.PER_RUN` only.
        images: the data; only its training split is looked at.
        device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
        on_epoch: called after each epoch; its time does not count as training.
        assignments: the expert of each training image, [R, N] int64, in place of a gate, which then stays
            untrained; None trains the gate. For baselines.

    Raises:
        ConfigError: no configuration, or configurations of different shapes.
        ValueError: assignments of another shape, or of experts that are not there.
    """
    training = Trainer(configs, images, devices.resolve(str(device)), assignments)
    while not training.done:
        progress = training.epoch()
        if on_epoch:
            on_epoch(progress)
    return training.result()
