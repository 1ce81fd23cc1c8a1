"""What the estimator adds to a checkpoint: its parameters, and the form and scale of its images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from moevae.config import overrides
from moevae.data.arrays import PixelScale
from moevae.estimator.parameters import plain
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
            config = trained.config
            params = {"n_components": config.model.num_experts, "random_state": config.seed}
            notes = cls({**params, "preset": config}, size, PixelScale(0.0, 1.0, by_type=True), {}, 0, None)
        if np.prod(notes.shape) != np.prod(size):
            raise ValueError(f"images of shape {notes.shape}")
        if isinstance(notes.params.get("preset"), Mapping):
            notes.params["preset"] = overrides.from_dict(notes.params["preset"])
        return notes
