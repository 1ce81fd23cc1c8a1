"""A trained run as a safetensors file: its weights, and its configuration as metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config.overrides import fingerprint, from_dict, to_dict
from moevae.config.schema import RunConfig
from moevae.errors import CheckpointError, ConfigError
from moevae.models.mixture import Mixture
from moevae.training.trainer import FitResult
from moevae.utils import content
from moevae.utils.identity import DataIdentity
from moevae.utils.io import write_atomically

FORMAT = "moevae-run-1"


@dataclass(frozen=True)
class Trained:
    """One trained run, as a population of one."""

    model: Mixture
    config: RunConfig
    height: int
    width: int
    sha256: str
    """Of the images it was trained on; empty where it was not told."""
    labels_sha256: str = ""
    """Of the labels that were beside them; empty where there were none, or it was not told."""

    @property
    def identity(self) -> DataIdentity | None:
        """What it was trained on, as far as the file tells."""
        if not self.sha256:
            return None
        return DataIdentity(self.sha256, self.labels_sha256 or None, (self.height, self.width))


def save(
    path: Path,
    fit: FitResult,
    run: int,
    height: int,
    width: int,
    sha256: str = "",
    labels_sha256: str = "",
) -> None:
    """Write run number `run` of a population, whole or not at all.

    Args:
        path: a safetensors file; folders are made.
        fit: the population.
        run: its position in it.
        height: of the images, pixels.
        width: of the images, pixels.
        sha256: of the images, as `Images` has it.
        labels_sha256: of the labels, as `Labels` has it; empty where there are none.
    """
    weights = {
        name: value[run : run + 1].cpu().contiguous() for name, value in fit.model.state_dict().items()
    }
    config = fit.configs[run]
    metadata = {
        "format": FORMAT,
        "config": json.dumps(to_dict(config)),
        "fingerprint": fingerprint(config),
        "height": str(height),
        "width": str(width),
        "sha256": sha256,
        "labels_sha256": labels_sha256,
        "weights": _digest(weights),
    }
    write_atomically(path, to_bytes(weights, metadata))


def load(path: Path) -> Trained:
    """Read a trained run back.

    Raises:
        CheckpointError: no such file, not a checkpoint of this version, one that was changed since it was
            written, or weights of another type or shape, or not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `moevae train` writes one")
    with ExitStack() as stack:
        with content.parsing(f"{path}: not a whole safetensors file", CheckpointError):
            size, free = path.stat().st_size, content.available_memory()
            if 2 * size > free:  # the file's tensors, and the model's
                raise CheckpointError(f"{path}: {size:,} bytes are too many for {free:,} bytes of memory")
            file = stack.enter_context(safe_open(path, framework="pt"))
        return _from(path, file)


def _from(path: Path, file: Any) -> Trained:
    """Return the run of an open file, whose tensors are looked at only if their shapes are what it needs."""
    metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        told = content.shortened(repr(metadata.get("format")))
        raise CheckpointError(f"{path}: not a checkpoint of this version (format {told})")
    try:
        config = from_dict(content.parse_json(metadata["config"]))
        height, width = int(metadata["height"]), int(metadata["width"])
    except (KeyError, ValueError, ConfigError) as error:
        told = content.reason(error)
        raise CheckpointError(f"{path}: its configuration cannot be read ({told})") from None
    changed = CheckpointError(f"{path}: changed since it was written (its checksums differ)")
    if fingerprint(config) != metadata.get("fingerprint"):
        raise changed
    if min(height, width) < 1:
        raise CheckpointError(f"{path}: images of {height} x {width} pixels; expected 1 or more")
    names = file.keys()
    _check_shapes(path, config, (height, width), {name: _announced(file, name) for name in names})
    weights = {name: file.get_tensor(name) for name in names}
    if _digest(weights) != metadata.get("weights"):
        raise changed
    for name, value in weights.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: {name} has weights that are not finite")
    model = Mixture(config.model, (height, width), [config.seed])
    model.load_state_dict(weights)
    digests = metadata.get("sha256", ""), metadata.get("labels_sha256", "")
    return Trained(model, config, height, width, *digests)


def _announced(file: Any, name: str) -> tuple[str, tuple[int, ...]]:
    part = file.get_slice(name)
    return str(part.get_dtype()), tuple(part.get_shape())


def _check_shapes(
    path: Path, config: RunConfig, size: tuple[int, int], found: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Compare types and shapes with those of the configuration's model, which is not built for it."""
    layers = len((*config.model.expert_hidden, *config.model.gate_hidden))
    if layers > len(found):
        raise CheckpointError(f"{path}: {len(found)} tensors are too few for {layers} hidden layers")
    with (
        content.parsing(f"{path}: no model can have its configuration", CheckpointError),
        torch.device("meta"),
    ):
        model = Mixture(config.model, size, [config.seed])
    expected = {name: ("F32", tuple(value.shape)) for name, value in model.state_dict().items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: {content.shortened(name)} has {_in_words(found.get(name))}, its configuration needs"
                f" {_in_words(expected.get(name))}"
            )


def _in_words(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "no values" if tensor is None else f"shape {list(tensor[1])} of {tensor[0]}"


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()
