"""A population in the middle of training, as one checksummed safetensors file.

A snapshot is either whole and of the configurations asked for, or it is refused: training then starts anew.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae import content
from moevae.config import RunConfig, fingerprint
from moevae.content import parsing
from moevae.errors import CheckpointError
from moevae.files import write_atomically
from moevae.population import Population
from moevae.train import Fit, Progress, Training

FORMAT = "moevae-snapshot-1"
_COMPANION = "companion."
_DIGEST = hashlib.sha256().digest_size


class Companion(Protocol):
    """What goes through training beside the weights, and must be there again when it goes on."""

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """Return tensors by name, and plain data for JSON."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], plain: Any) -> None:
        """Go on from a `state`; whatever is raised has changed nothing."""
        ...


def place(folder: Path, configs: Sequence[RunConfig]) -> Path:
    """Return where the snapshot of these runs, in this order, stands in a folder."""
    return folder / f"{hashlib.sha256('-'.join(_names(configs)).encode()).hexdigest()[:16]}.snapshot"


def carry_on(
    training: Training | Population,
    path: Path | None,
    *,
    seconds: float = 10.0,
    on_epoch: Callable[[Progress], None] | None = None,
    companion: Companion | None = None,
) -> Fit:
    """Train to the end, from the snapshot where there is a good one.

    The snapshot stays when training ends: what is made of the runs must be safe before it goes.

    Args:
        training: the population at its beginning.
        path: of the snapshot; None keeps none.
        seconds: an epoch that ends this long after the last snapshot, or the start, leaves a new one.
        on_epoch: called after each epoch.
        companion: kept and restored with the weights.
    """
    if path and path.exists():
        _resume(path, training, companion)
    kept = time.perf_counter()
    while not training.done:
        progress = training.epoch()
        if on_epoch:
            on_epoch(progress)
        if path and not training.done and time.perf_counter() - kept >= seconds:
            _keep(path, training, companion)
            kept = time.perf_counter()
    return training.result()


def write(path: Path, configs: Sequence[RunConfig], tensors: Mapping[str, Tensor], plain: Any) -> None:
    """Write tensors and plain data (JSON) of these configurations, whole or not at all."""
    head = {"format": FORMAT, "runs": json.dumps(_names(configs)), "plain": json.dumps(plain)}
    body = to_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, head)
    write_atomically(path, hashlib.sha256(body).digest() + body)


def read(path: Path, configs: Sequence[RunConfig]) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the plain data written for these configurations.

    Raises:
        CheckpointError: no such file, torn, bits flipped, or of other configurations.
    """
    with parsing(f"{path}: cannot be read", CheckpointError):
        whole = content.read(path, content.available_memory() // 3)
    digest, body = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: its checksum does not fit: torn or changed")
    with parsing(f"{path}: not a snapshot of this version", CheckpointError):
        tensors, head = from_bytes(body), _head(body)
        runs, plain = content.parse_json(head["runs"]), content.parse_json(head["plain"])
    if head.get("format") != FORMAT or runs != _names(configs):
        raise CheckpointError(f"{path}: a snapshot of other runs")
    return tensors, plain


def _keep(path: Path, training: Training | Population, companion: Companion | None) -> None:
    tensors, plain = training.state()
    more, beside = companion.state() if companion else ({}, None)
    tensors |= {f"{_COMPANION}{name}": value for name, value in more.items()}
    try:
        write(path, training.configs, tensors, {"training": plain, "companion": beside})
    except OSError as error:
        warnings.warn(f"{path}: not written ({error.strerror}); training goes on without it", stacklevel=3)


def _resume(path: Path, training: Training | Population, companion: Companion | None) -> None:
    try:
        tensors, plain = read(path, training.configs)
        names = [name for name in tensors if name.startswith(_COMPANION)]
        more = {name.removeprefix(_COMPANION): tensors.pop(name) for name in names}
        with parsing(f"{path}: not a snapshot of this version", CheckpointError):
            own, beside = plain["training"], plain["companion"]
        _check(path, training, tensors, own)
        if companion:
            with parsing(f"{path}: not a snapshot of this version", CheckpointError):
                companion.restore(more, beside)
    except CheckpointError as error:
        warnings.warn(f"{error}; its runs start anew", stacklevel=3)
        return
    training.restore(tensors, own)


def _check(path: Path, training: Training | Population, tensors: dict[str, Tensor], plain: Any) -> None:
    try:
        training.check(tensors, plain)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _names(configs: Sequence[RunConfig]) -> list[str]:
    return [fingerprint(config) for config in configs]


def _head(body: bytes) -> dict[str, str]:
    """Return a safetensors file's metadata: a length, 8 bytes, and JSON (the format's specification)."""
    length = int.from_bytes(body[:8], "little")
    return content.parse_json(body[8 : 8 + length]).get("__metadata__", {})
