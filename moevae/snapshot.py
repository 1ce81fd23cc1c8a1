"""A population in the middle of training, as one checksummed safetensors file.

A snapshot is either whole and of the configurations asked for, or it is refused: training then starts anew.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config import RunConfig, fingerprint
from moevae.errors import CheckpointError
from moevae.files import remove_empty, write_atomically
from moevae.population import Population
from moevae.train import Fit, Progress, Training

FORMAT = "moevae-snapshot-1"
_COMPANION = "companion."
_DIGEST = hashlib.sha256().digest_size
_LONGEST_HEAD = 100_000_000
"""Bytes; what claims a longer one is no snapshot."""


class Companion(Protocol):
    """What goes through training beside the weights, and must be there again when it goes on."""

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """Return tensors by name, and plain data for JSON."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], plain: Any) -> None:
        """Go on from a `state`."""
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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: its checksum does not fit: torn or changed")
    try:
        tensors, head = from_bytes(body), _head(body)
        runs, plain = json.loads(head["runs"]), json.loads(head["plain"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not a snapshot of this version ({error})") from None
    if head.get("format") != FORMAT or runs != _names(configs):
        raise CheckpointError(f"{path}: a snapshot of other runs")
    return tensors, plain


def remove(folder: Path, done: Collection[str]) -> None:
    """Remove the snapshots whose runs are all done, and the folder where that leaves it empty.

    Args:
        folder: of the snapshots; any other file in it stays.
        done: fingerprints of runs.
    """
    for path in folder.glob("*.snapshot"):
        runs = _runs(path)
        if runs and all(run in done for run in runs):
            path.unlink(missing_ok=True)
    remove_empty([folder])


def _runs(path: Path) -> list[str]:
    """Return the fingerprints of a snapshot's runs, by its head alone; none where it is no snapshot."""
    try:
        if path.is_symlink() or not path.is_file():
            return []
        with path.open("rb") as file:
            length = file.read(_DIGEST + 8)[_DIGEST:]
            head = length + file.read(min(int.from_bytes(length, "little"), _LONGEST_HEAD))
        found = _head(head)
        runs = json.loads(found["runs"]) if found["format"].startswith("moevae-snapshot-") else []
        return [str(run) for run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


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
        _restore(path, training, tensors, plain["training"])
    except CheckpointError as error:
        warnings.warn(f"{error}; its runs start anew", stacklevel=3)
        return
    if companion:
        companion.restore(more, plain["companion"])


def _restore(path: Path, training: Training | Population, tensors: dict[str, Tensor], plain: Any) -> None:
    try:
        training.restore(tensors, plain)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _names(configs: Sequence[RunConfig]) -> list[str]:
    return [fingerprint(config) for config in configs]


def _head(body: bytes) -> dict[str, str]:
    """Return a safetensors file's metadata: a length, 8 bytes, and JSON (the format's specification)."""
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length]).get("__metadata__", {})
