"""A trained run as a safetensors file: its weights, and its configuration as metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config import RunConfig, fingerprint, from_dict, to_dict
from moevae.errors import CheckpointError, ConfigError
from moevae.files import write_atomically
from moevae.identity import DataIdentity
from moevae.model import Mixture
from moevae.train import Fit

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
    fit: Fit,
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
            written, or weights of another shape.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `python -m moevae train` writes one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version (format {metadata.get('format')!r})")
    try:
        config = from_dict(json.loads(metadata["config"]))
        height, width = int(metadata["height"]), int(metadata["width"])
    except (KeyError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: its configuration cannot be read ({error})") from None
    if (fingerprint(config), _digest(weights)) != (metadata.get("fingerprint"), metadata.get("weights")):
        raise CheckpointError(f"{path}: changed since it was written (its checksums differ)")
    if min(height, width) < 1:
        raise CheckpointError(f"{path}: images of {height} x {width} pixels; right would be 1 or more")
    model = Mixture(config.model, (height, width), [config.seed])
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: {name} has shape {found.get(name)}, its configuration needs {expected.get(name)}"
            )
    model.load_state_dict(weights)
    digests = metadata.get("sha256", ""), metadata.get("labels_sha256", "")
    return Trained(model, config, height, width, *digests)


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()
