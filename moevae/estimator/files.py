"""Checkpoints of the estimator, with its parameters, and the form and scale of its images."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.data.arrays import PixelScale
from moevae.errors import CheckpointError, ParameterError
from moevae.estimator.parameters import plain
from moevae.estimator.training import CURVES, Fitted
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.utils import content


@dataclass
class Notes:
    """The notes of an estimator in a checkpoint."""

    params: dict[str, Any]
    """Parameters of the constructor."""
    shape: tuple[int, ...]
    """Shape of an image in X."""
    scale: PixelScale
    curves: dict[str, list[float]]
    """Learning curves by name."""
    epochs: int
    feature_names: list[str] | None

    def text(self) -> str:
        """Return the notes as JSON, which `of` reads."""
        return json.dumps({"estimator": asdict(self)}, default=plain)

    @classmethod
    def of(cls, trained: Trained) -> Notes:
        """Return the notes of a run that an estimator or `moevae train` saved.

        Args:
            trained: the content of the checkpoint.

        Raises:
            ValueError: the notes are invalid.
        """
        size = trained.height, trained.width
        tree = content.parse_json(trained.notes) if trained.notes else {}
        if "estimator" in tree:
            notes = TypeAdapter(cls).validate_python(tree["estimator"])
        else:
            config = overrides.override(trained.config, {"train.start": ""})  # no parameter has its weights
            params = {"n_components": config.model.num_experts, "random_state": config.seed}
            notes = cls({**params, "preset": config}, size, PixelScale(0.0, 1.0, by_type=True), {}, 0, None)
        if np.prod(notes.shape) != np.prod(size):
            raise ValueError(f"images of shape {notes.shape}")
        if isinstance(notes.params.get("preset"), Mapping):
            notes.params["preset"] = overrides.from_dict(notes.params["preset"])
        return notes


def save(
    path: Path, fitted: Fitted, params: Mapping[str, Any], feature_names: Collection[str] | None
) -> None:
    """Write an estimator to a file.

    Args:
        path: the file; missing folders are created.
        fitted: the result of training.
        params: parameters of the constructor.
        feature_names: names of the columns of X, if it was a data frame.

    Raises:
        OSError: the file cannot be written.
        ParameterError: extra experts are still to be pruned.
    """
    found, kept = fitted.mixture.config.num_experts, fitted.config.model.num_experts
    if found > kept:
        raise ParameterError(
            f"the model has {found} experts and is trained to keep {kept}; expected more epochs"
        )
    params = {name: value for name, value in params.items() if name not in ("device", "verbose")}
    if isinstance(params["preset"], RunConfig):
        params["preset"] = overrides.to_dict(params["preset"])
    if not isinstance(params["random_state"], Integral | None):
        params["random_state"] = fitted.config.seed
    names = None if feature_names is None else list(feature_names)
    notes = Notes(params, fitted.shape, fitted.scale, fitted.curves, fitted.epochs, names)
    trained = Trained(fitted.mixture, fitted.config, *fitted.size, fitted.sha256, notes=notes.text())
    checkpoint.save(path, trained)


def load(path: Path, known: Collection[str]) -> tuple[Notes, Fitted]:
    """Read a file that `save` or `moevae train` wrote.

    Args:
        path: the file.
        known: names of the parameters of the constructor.

    Raises:
        CheckpointError: the file is missing, or not a checkpoint of this version.
    """
    trained = checkpoint.load(path)
    with content.parsing(f"{path}: notes of another version", CheckpointError):
        notes = Notes.of(trained)
        if unknown := notes.params.keys() - {*known} | notes.params.keys() & {"device"}:
            raise ValueError(f"unknown parameters: {', '.join(sorted(unknown))}")
    return notes, Fitted(
        config=trained.config,
        mixture=trained.model,
        size=(trained.height, trained.width),
        shape=notes.shape,
        scale=notes.scale,
        sha256=trained.sha256,
        curves={name: notes.curves.get(name, []) for name in CURVES},
        epochs=notes.epochs or trained.config.train.epochs,
        state=None,
    )
