"""The state of a trainer: saved, checked and restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from moevae.errors import CheckpointError
from moevae.models.mixture import Mixture
from moevae.training.adam import Adam
from moevae.training.results import TrainingFailure
from moevae.utils import content

if TYPE_CHECKING:
    from moevae.training.trainer import Trainer


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of training, the part of a state that is plain data."""

    epochs_done: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    failures: list[TrainingFailure | None]


_PROGRESS = TypeAdapter(TrainingProgress)


def save(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return everything that the remaining epochs depend on; see `Trainer.state`.

    Args:
        trainer: the trainer.

    Returns:
        Tensors by name, and plain data that JSON can represent.
    """
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in trainer.optimizer.state().items()}
    if trainer.configs[0].train.extra_experts:
        tensors["origins"] = trainer.origins
    tensors |= {f"stream.{name}": stream.state() for name, stream in trainer.streams().items()}
    failures = [asdict(failure) if failure else None for failure in trainer.failures]
    plain = {"epochs_done": trainer.epochs_done, "seconds": trainer.seconds, "failures": failures}
    return tensors, plain


def restore(trainer: Trainer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Restore a state of the same configurations; see `Trainer.restore`.

    Args:
        trainer: a trainer of the same configurations.
        tensors: tensors of the state, by name.
        plain: plain data of the state.

    Raises:
        CheckpointError: the state belongs to another version. The trainer is unchanged.
    """
    check(trainer, tensors, plain)
    groups = group_tensors(tensors)
    if "origins" in tensors:
        trainer.set_model(_model_with(trainer, tensors["origins"]))
        trainer.origins = tensors["origins"]
        trainer.load = trainer.load.new_zeros(trainer.origins.shape)
    trainer.model.load_state_dict(groups["model"])
    trainer.optimizer.restore(groups["optimizer"])
    for name, stream in trainer.streams().items():
        stream.restore(groups["stream"][name])
    trainer.epochs_done, trainer.seconds = plain["epochs_done"], plain["seconds"]
    trainer.failures = [TrainingFailure(**failure) if failure else None for failure in plain["failures"]]


def check(trainer: Trainer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Check whether a trainer would restore a state, without changing anything.

    Args:
        trainer: a trainer of the same configurations.
        tensors: tensors of the state, by name.
        plain: plain data of the state.

    Raises:
        CheckpointError: the state belongs to another version or to other configurations.
    """
    groups, streams = group_tensors(tensors), trainer.streams()
    if groups["stream"].keys() != streams.keys():
        raise CheckpointError("random streams of another version")
    pruned = {"origins"} if trainer.configs[0].train.extra_experts else set()
    if groups.keys() != {"model", "optimizer", "stream"} | pruned:
        raise CheckpointError("tensors of another version")
    model = _model_with(trainer, tensors["origins"]) if pruned else trainer.model
    if not (
        same_layout(model.state_dict(), groups["model"])
        and Adam(model.parameters()).fits(groups["optimizer"])
        and all(stream.fits(groups["stream"][name]) for name, stream in streams.items())
    ):
        raise CheckpointError("tensors of another version")
    check_progress(plain, trainer.epochs, len(trainer.configs))


def _model_with(trainer: Trainer, origins: Tensor) -> Mixture:
    """Return a copy of the model of a trainer with the given experts; origins [R, K].

    Raises:
        CheckpointError: the indices are invalid.
    """
    runs, most = trainer.origins.shape
    check_origins(origins, runs, most, trainer.configs[0].model.num_experts)
    return trainer.model.keep_experts(origins.to(trainer.device))


def group_tensors(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group the tensors of a state by the prefix of their names: `model`, `optimizer` and `stream`.

    Args:
        tensors: tensors by name, such as `model.gate.weight`.

    Returns:
        The tensors of each prefix, by the rest of their names.
    """
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "stream": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = value
    return groups


def same_layout(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    """Return whether two sets of tensors have the same names, shapes and data types.

    Args:
        expected: tensors by name.
        found: tensors by name.
    """
    return expected.keys() == found.keys() and all(
        (value.shape, value.dtype) == (found[name].shape, found[name].dtype)
        for name, value in expected.items()
    )


def check_progress(plain: Mapping[str, Any], epochs: int, runs: int) -> None:
    """Check the plain data of a state.

    Args:
        plain: the data, as `Trainer.state` returns it.
        epochs: number of epochs of the whole training.
        runs: number of runs of the population.

    Raises:
        CheckpointError: a field is missing or invalid.
    """
    with content.parsing("training progress of another version", CheckpointError):
        progress = _PROGRESS.validate_python(plain)
        if progress.epochs_done > epochs or len(progress.failures) != runs:
            raise ValueError(f"{progress.epochs_done} epochs of {len(progress.failures)} runs")


def check_origins(origins: Tensor, runs: int, most: int, least: int) -> None:
    """Check the indices of the experts that pruning kept.

    Args:
        origins: index that each expert had at the start of training, [R, K] int64.
        runs: R.
        most: number of experts at the start of training.
        least: number of experts at the end of training.

    Raises:
        CheckpointError: the shape, the type or an index is invalid, or an index occurs twice in a run.
    """
    ordered = origins.sort(1).values if origins.ndim == 2 else origins
    if not (
        origins.dtype == torch.int64
        and origins.ndim == 2
        and len(origins) == runs
        and least <= origins.shape[1] <= most
        and int(ordered.min()) >= 0
        and int(ordered.max()) < most
        and bool((ordered.diff() > 0).all())
    ):
        raise CheckpointError("invalid indices of experts")
