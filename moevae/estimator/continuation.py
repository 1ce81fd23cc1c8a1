"""Training that continues from a fitted estimator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images
from moevae.errors import CheckpointError, ParameterError
from moevae.models.mixture import Mixture
from moevae.training.trainer import Trainer

State = tuple[dict[str, Tensor], dict[str, Any]]
"""State of a trainer, see `Trainer.state`."""


def continued_trainer(
    config: RunConfig,
    images: Images,
    device: torch.device,
    *,
    epochs: int,
    done: int,
    model: Mixture,
    state: State | None,
) -> Trainer:
    """Return a trainer that continues the training of a model.

    Args:
        config: the configuration of the run.
        images: the training images.
        device: where to train.
        epochs: number of epochs of the whole training.
        done: number of epochs of the model.
        model: the trained model.
        state: state of its trainer; None continues from its weights alone, with a new optimizer.

    Raises:
        ParameterError: the model and the configuration have different sizes.
    """
    if state is None or "origins" not in state[0]:  # a loaded model has no extra experts
        config = overrides.override(config, {"train.extra_experts": 0})
    trainer = Trainer([config], images, device, epochs=epochs)
    try:
        if state is None:
            trainer.model.load_state_dict(model.state_dict())
            trainer.epochs_done = done
        else:
            trainer.restore(*state)
    except (CheckpointError, RuntimeError):
        raise ParameterError(
            "training cannot continue, because a parameter changed the sizes of the networks; expected"
            " the parameters of the last fit, or warm_start=False"
        ) from None
    return trainer
