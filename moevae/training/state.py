"""Checks of a saved training state before a trainer restores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from moevae.errors import CheckpointError
from moevae.training.results import TrainingFailure
from moevae.utils import content


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of training, the part of a state that is plain data."""

    epochs_done: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    failures: list[TrainingFailure | None]


_PROGRESS = TypeAdapter(TrainingProgress)


def group_tensors(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group the tensors of a state by the prefix of their names: `model`, `optimizer` and `stream`."""
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "stream": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = value
    return groups


def same_layout(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    """Return whether two sets of tensors have the same names, shapes and data types."""
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
