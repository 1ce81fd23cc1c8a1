"""Checkpoints: a trained run as a safetensors file with the weights, and the configuration as metadata."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config.migration import migrate_config, old_fingerprint
from moevae.config.overrides import fingerprint, from_dict, to_dict
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels
from moevae.errors import CheckpointError, ConfigError
from moevae.models.mixture import Mixture
from moevae.training.results import FitResult
from moevae.utils import content
from moevae.utils.identity import DataIdentity
from moevae.utils.io import write_atomically

FORMAT = "moevae-run-2"
_EARLIER = "moevae-run-1"
"""Format of files whose configuration is of schema 1."""
EXTRAS = ("unusual_below", "usual_images")
"""Metadata that a file may lack."""


@dataclass(frozen=True)
class Trained:
    """One trained run, as a population of one run: `save` writes it and `load` returns it.

    Examples:
        >>> import moevae
        >>> config = moevae.preset("digits")
        >>> trained = moevae.Trained(moevae.Mixture(config.model, (8, 8), [0]), config, 8, 8, sha256="")
        >>> trained.identity is None  # of the training images, which are unknown here
        True
    """

    model: Mixture
    config: RunConfig
    height: int
    width: int
    sha256: str
    """SHA-256 of the images that the run was trained on; empty if unknown."""
    labels_sha256: str = ""
    """SHA-256 of the labels of these images; empty if there are none, or if unknown."""
    notes: str = ""
    """Text that is saved with the run."""
    unusual_below: float | None = None
    """Bound below which an image is unusual for this run, in nats; None if unknown."""
    usual_images: str = ""
    """Splits of the images that determined `unusual_below`, such as `validation and test`, or empty."""

    @classmethod
    def of(cls, fit: FitResult, run: int, images: Images, labels: Labels | None = None) -> Trained:
        """Return one run of a population.

        Args:
            fit: the population.
            run: index of the run.
            images: the images that it was trained on.
            labels: their labels; None if there are none.
        """
        digest = labels.sha256 if labels else ""
        return cls(fit.model.select_run(run), fit.configs[run], *images.size, images.sha256, digest)

    @property
    def identity(self) -> DataIdentity | None:
        """Identity of the training data; None if the file does not contain it."""
        if not self.sha256:
            return None
        return DataIdentity(self.sha256, self.labels_sha256 or None, (self.height, self.width))


def save(path: str | os.PathLike[str], trained: Trained) -> None:
    """Write a trained run to a file, atomically.

    Args:
        path: the safetensors file; missing folders are created.
        trained: the run.

    Raises:
        OSError: the file cannot be written.

    Examples:
        >>> import moevae, pathlib, tempfile
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
        >>> images = moevae.load_images(config.data)
        >>> fit = moevae.fit([config], images)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     moevae.save(f"{folder}/run.safetensors", moevae.Trained.of(fit, 0, images))
        ...     [path.name for path in pathlib.Path(folder).iterdir()]
        ['run.safetensors']
    """
    write_atomically(Path(path), encode(trained))


def encode(trained: Trained) -> bytes:
    """Return the content of the file of a trained run.

    Args:
        trained: the trained run.
    """
    weights = {name: value.cpu().contiguous() for name, value in trained.model.state_dict().items()}
    extras = {} if trained.unusual_below is None else {"unusual_below": repr(trained.unusual_below)}
    if trained.usual_images:
        extras["usual_images"] = trained.usual_images
    metadata = {
        "format": FORMAT,
        "config": json.dumps(to_dict(trained.config)),
        "fingerprint": fingerprint(trained.config),
        "height": str(trained.height),
        "width": str(trained.width),
        "sha256": trained.sha256,
        "labels_sha256": trained.labels_sha256,
        "weights": _digest(weights, extras),
        **extras,
    }
    if trained.notes:
        metadata["notes"] = trained.notes
    encoded: bytes = to_bytes(weights, metadata)
    return encoded


def load(path: str | os.PathLike[str]) -> Trained:
    """Read a trained run from a file.

    Args:
        path: a file that `save` wrote.

    Raises:
        CheckpointError: the file is missing, not a checkpoint of this version, modified or too large, or its
            weights have another data type or shape or are not finite.

    Examples:
        >>> import moevae, tempfile
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
        >>> images = moevae.load_images(config.data)
        >>> fit = moevae.fit([config], images)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     moevae.save(f"{folder}/run.safetensors", moevae.Trained.of(fit, 0, images))
        ...     trained = moevae.load(f"{folder}/run.safetensors")
        >>> trained.config == config
        True
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; expected a file that `moevae train` wrote")
    if not path.is_file():
        raise CheckpointError(f"{path}: checkpoint not found; `moevae train` writes one")
    with ExitStack() as stack:
        with content.parsing(f"{path}: not a complete safetensors file", CheckpointError):
            size, free = path.stat().st_size, content.available_memory()
            if 2 * size > free:  # the tensors of the file and those of the model
                raise CheckpointError(
                    f"{path}: too large ({size:,} bytes) for the available memory ({free:,} bytes)"
                )
            file = stack.enter_context(safe_open(path, framework="pt"))
        return _from(path, file)


def _from(path: Path, file: Any) -> Trained:
    """Return the run of an open file; its tensors are read after their shapes are checked."""
    metadata = file.metadata() or {}
    earlier = metadata.get("format") == _EARLIER
    if metadata.get("format") != FORMAT and not earlier:
        shown = content.shortened(repr(metadata.get("format")))
        raise CheckpointError(
            f"{path}: not a checkpoint of this version (format {shown}; expected {FORMAT!r})"
        )
    try:
        tree = content.parse_json(metadata["config"])
        config = from_dict(migrate_config(tree) if earlier else tree)
        height, width = int(metadata["height"]), int(metadata["width"])
    except (KeyError, ValueError, ConfigError) as error:
        fault = content.reason(error)
        raise CheckpointError(f"{path}: invalid configuration ({fault})") from None
    changed = CheckpointError(f"{path}: modified since it was written (checksum mismatch)")
    if (old_fingerprint(tree) if earlier else fingerprint(config)) != metadata.get("fingerprint"):
        raise changed
    if min(height, width) < 1:
        raise CheckpointError(f"{path}: image size {height} x {width} pixels; expected at least 1 x 1")
    names = file.keys()
    _check_shapes(path, config, (height, width), {name: _stored_layout(file, name) for name in names})
    weights = {name: file.get_tensor(name) for name in names}
    extras = {name: metadata[name] for name in EXTRAS if name in metadata}
    if _digest(weights, extras) != metadata.get("weights"):
        raise changed
    for name, value in weights.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: {name} contains values that are not finite")
    model = Mixture(config.model, (height, width), [config.seed])
    model.load_state_dict(weights)
    texts = {name: metadata.get(name, "") for name in ("sha256", "labels_sha256", "notes")}
    limit = float(extras["unusual_below"]) if "unusual_below" in extras else None
    usual = extras.get("usual_images", "")
    return Trained(model, config, height, width, **texts, unusual_below=limit, usual_images=usual)


def _stored_layout(file: Any, name: str) -> tuple[str, tuple[int, ...]]:
    """Return the data type and the shape of a tensor, without reading it."""
    part = file.get_slice(name)
    return str(part.get_dtype()), tuple(part.get_shape())


def _check_shapes(
    path: Path, config: RunConfig, size: tuple[int, int], found: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Compare data types and shapes with those of the configured model, without allocating its weights."""
    layers = len((*config.model.expert_hidden, *config.model.gate_hidden))
    if layers > len(found):
        raise CheckpointError(
            f"{path}: {len(found)} tensors; expected at least one for each of the {layers} hidden layers"
        )
    with (
        content.parsing(f"{path}: cannot build a model from its configuration", CheckpointError),
        torch.device("meta"),
    ):
        model = Mixture(config.model, size, [config.seed])
    expected = {name: ("F32", tuple(value.shape)) for name, value in model.state_dict().items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: {content.shortened(name)} has {_in_words(found.get(name))}; expected"
                f" {_in_words(expected.get(name))}"
            )


def _in_words(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    """Return the shape and the data type of a tensor as text."""
    return "no tensor" if tensor is None else f"shape {list(tensor[1])} of {tensor[0]}"


def _digest(weights: Mapping[str, Tensor], extras: Mapping[str, str] | None = None) -> str:
    """Return the SHA-256 of names and values; extras are metadata that the digest protects."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].numpy().tobytes())
    for name, value in sorted((extras or {}).items()):
        digest.update(f"{name}={value}".encode())
    return digest.hexdigest()
