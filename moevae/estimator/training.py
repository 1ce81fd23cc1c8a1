"""The training of an estimator, from the start or continued."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.data.arrays import PixelScale
from moevae.data.datasets import Images
from moevae.errors import CheckpointError, MoevaeError, ParameterError
from moevae.models.mixture import Mixture
from moevae.spectral.clusters import cluster_images
from moevae.training.fit import train
from moevae.training.results import EpochStats
from moevae.training.trainer import Trainer
from moevae.utils.progress import show_progress

State = tuple[dict[str, Tensor], dict[str, Any]]
"""State of a trainer, see `Trainer.state`."""

CURVES = ("loss", "gate_loss", "temperature")
"""Learning curves; see `MixtureOfVAEs.learning_curves_`."""


@dataclass(frozen=True)
class Fitted:
    """The result of training an estimator."""

    config: RunConfig
    """Configuration of the run; `train.epochs` is the number of epochs done."""
    mixture: Mixture
    """The trained networks, of one run."""
    size: tuple[int, int]
    """Height and width of an image, in pixels."""
    shape: tuple[int, ...]
    """Shape of an image in X."""
    scale: PixelScale
    """The values of black and white in X."""
    sha256: str
    """Digest of the training images."""
    curves: dict[str, list[float]]
    """One value per epoch, by the names of `CURVES`."""
    epochs: int
    """Number of epochs done."""
    state: State | None
    """State of the trainer; None for a model from a file."""

    def on_cpu(self, mixture: Mixture) -> Fitted:
        """Return the same result in the memory of the host, with a copy of the networks.

        Args:
            mixture: the copy, on a CPU.
        """
        state = self.state
        if state is not None:
            state = {name: value.cpu() for name, value in state[0].items()}, state[1]
        return replace(self, mixture=mixture, state=state)


def training_scale(images: np.ndarray, given: PixelScale | None) -> PixelScale:
    """Return the scale of training images.

    Args:
        images: images of any numbers, [N, D].
        given: the scale that the user states; None infers it.

    Raises:
        ValueError: images have values outside the given scale.
    """
    if given is None:
        return PixelScale.of(images)
    if not (images.min() >= given.low and images.max() <= given.high):
        raise ValueError(
            f"X ranges from {images.min():g} to {images.max():g}; expected value_range ="
            f" ({given.low:g}, {given.high:g})"
        )
    return given


def train_run(
    config: RunConfig,
    pixels: Tensor,
    size: tuple[int, int],
    device: torch.device,
    *,
    shape: tuple[int, ...],
    scale: PixelScale,
    epochs: int | None,
    before: Fitted | None,
    find_experts: bool,
    verbose: bool,
) -> Fitted:
    """Train the run of an estimator.

    Args:
        config: the configuration that the parameters describe.
        pixels: training images as `moevae.Images` stores them, [N, D].
        size: height and width of an image, in pixels.
        device: where to train.
        shape: shape of an image in X.
        scale: the values of black and white in X.
        epochs: number of epochs; None means `train.epochs`.
        before: the training to continue; None starts a new one.
        find_experts: whether the number of experts is that of the clusters of the images.
        verbose: whether to show progress on standard error.

    Raises:
        ParameterError: training diverged, or a setting is invalid.
    """
    digest = hashlib.sha256(pixels.numpy().data).hexdigest()
    images = Images("X", digest, *size, pixels, pixels[:0], pixels[:0])
    total = (before.epochs if before else 0) + (epochs or config.train.epochs)
    try:
        if before:
            config = overrides.override(config, {"seed": before.config.seed})
        if find_experts:
            number = before.config.model.num_experts if before else _count_clusters(images, config.seed)
            config = overrides.override(config, {"model.num_experts": number})
        if before:
            trainer = continued_trainer(config, images, device, total, before)
        else:
            trainer = Trainer([config], images, device, epochs=total)
    except MoevaeError as error:
        raise ParameterError(str(error)) from None
    curves = {name: list(before.curves[name]) if before else [] for name in CURVES}
    with show_progress(Console(stderr=True, quiet=not verbose)) as note:

        def on_epoch(stats: EpochStats) -> None:
            for name, values in zip(
                CURVES, (stats.losses, stats.gate_losses, stats.temperatures), strict=True
            ):
                curves[name].append(values[0])
            note(stats.epoch, stats.epochs, {"loss": stats.losses[0]})

        result = train(trainer, on_epoch=on_epoch)
    if failure := result.failures[0]:
        raise ParameterError(
            f"training diverged: {failure.reason} in epoch {failure.epoch}, step {failure.step}; expected"
            f" a lower train.learning_rate, such as {config.train.learning_rate / 10:g}"
        )
    return Fitted(
        config=overrides.override(config, {"train.epochs": total}),
        mixture=result.model,
        size=size,
        shape=shape,
        scale=scale,
        sha256=digest,
        curves=curves,
        epochs=total,
        state=trainer.state(),
    )


def continued_trainer(
    config: RunConfig, images: Images, device: torch.device, epochs: int, before: Fitted
) -> Trainer:
    """Return a trainer that continues the training of a model.

    Args:
        config: the configuration of the run.
        images: the training images.
        device: where to train.
        epochs: number of epochs of the whole training.
        before: the training to continue; without a state, it continues from the weights alone, with a new
            optimizer.

    Raises:
        ParameterError: the model and the configuration have different sizes.
    """
    state = before.state
    if state is None or "origins" not in state[0]:  # a loaded model has no extra experts
        config = overrides.override(config, {"train.extra_experts": 0})
    trainer = Trainer([config], images, device, epochs=epochs)
    try:
        if state is None:
            trainer.model.load_state_dict(before.mixture.state_dict())
            trainer.epochs_done = before.epochs
        else:
            trainer.restore(*state)
    except (CheckpointError, RuntimeError):
        raise ParameterError(
            "training cannot continue, because a parameter changed the sizes of the networks; expected"
            " the parameters of the last fit, or warm_start=False"
        ) from None
    return trainer


def _count_clusters(images: Images, seed: int) -> int:
    """Return the number of clusters that the graph of neighbors of the training images shows."""
    return cluster_images(images.train, images.size, None, seed).count
