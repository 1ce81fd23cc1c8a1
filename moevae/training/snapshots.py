"""A population in the middle of training, as one checksummed safetensors file.

A snapshot is continued only if it is whole and of the same configurations, data, code and kind of device.
Its name holds a digest of all of these: one of other data or code stays beside it, untouched, and is
continued when they come back.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config.overrides import fingerprint
from moevae.config.schema import RunConfig
from moevae.errors import CheckpointError
from moevae.training.population import Population
from moevae.training.trainer import EpochStats, FitResult, Trainer
from moevae.utils import content, identity
from moevae.utils.content import parsing
from moevae.utils.identity import SHOWN, DataIdentity
from moevae.utils.io import remove_empty, write_atomically

FORMAT = "moevae-snapshot-2"
_COMPANION = "companion."
_DIGEST = hashlib.sha256().digest_size
_LONGEST = 1 << 26
"""Bytes of a header at most."""


class StatefulCallback(Protocol):
    """What goes through training beside the weights, and must be there again when it goes on."""

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """Return tensors by name, and plain data for JSON."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], plain: Any) -> None:
        """Go on from a `state`; whatever is raised has changed nothing."""
        ...


def origin(data: DataIdentity, device: str, *packages: str) -> dict[str, str]:
    """Return all that decides the numbers of a training beside its configurations.

    Args:
        data: what is trained on; labels count where they are known.
        device: kind of device, such as `cpu`.
        packages: whose code decides; `moevae` if none is given.
    """
    code = identity.of_code(*(packages or ("moevae",)))
    return {
        "images": data.images,
        "size of images": " x ".join(map(str, data.size or ())),
        "labels": data.labels or "",
        "source code": code.source,
        "torch": code.torch,
        "device": device,
    }


def snapshot_path(folder: Path, configs: Sequence[RunConfig], origin: Mapping[str, str]) -> Path:
    """Return where the snapshot of these runs, in this order and of this origin, stands in a folder."""
    return folder / f"{_stem(configs)}-{_hash(json.dumps(origin, sort_keys=True))}.snapshot"


def train_with_snapshots(
    training: Trainer | Population,
    folder: Path | None,
    origin: Mapping[str, str],
    *,
    seconds: float = 10.0,
    on_epoch: Callable[[EpochStats], None] | None = None,
    companion: StatefulCallback | None = None,
) -> FitResult:
    """Train to the end, from the snapshot where there is a good one.

    A snapshot of the same runs and another origin is told by a warning, and stays.

    The snapshot stays when training ends: what is made of the runs must be safe before it goes.

    Args:
        training: the population at its beginning.
        folder: of snapshots; None keeps none.
        origin: of the numbers, as `origin` returns it.
        seconds: an epoch that ends this long after the last snapshot, or the start, leaves a new one.
        on_epoch: called after each epoch.
        companion: kept and restored with the weights.
    """
    path = snapshot_path(folder, training.configs, origin) if folder else None
    if path and path.exists():
        _resume(path, training, origin, companion)
    elif path:
        _tell_of_others(path, training.configs, origin)
    kept = time.perf_counter()
    while not training.done:
        progress = training.epoch()
        if on_epoch:
            on_epoch(progress)
        if path and not training.done and time.perf_counter() - kept >= seconds:
            _keep(path, training, origin, companion)
            kept = time.perf_counter()
    return training.result()


def write(
    path: Path,
    configs: Sequence[RunConfig],
    tensors: Mapping[str, Tensor],
    plain: Any,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write tensors and plain data (JSON) of these configurations, whole or not at all."""
    head = {
        "format": FORMAT,
        "runs": json.dumps(_names(configs)),
        "origin": json.dumps(origin or {}),
        "plain": json.dumps(plain),
    }
    body = to_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, head)
    write_atomically(path, hashlib.sha256(body).digest() + body)


def read(
    path: Path, configs: Sequence[RunConfig], origin: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the plain data written for these configurations.

    Args:
        path: the snapshot.
        configs: whose it has to be.
        origin: that it has to have; None accepts any.

    Raises:
        CheckpointError: no such file, torn, bits flipped, or of other configurations, data or code.
    """
    with parsing(f"{path}: cannot be read", CheckpointError):
        whole = content.read(path, content.available_memory() // 3)
    digest, body = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: checksum mismatch: the file is truncated or modified")
    with parsing(f"{path}: not a snapshot of this version", CheckpointError):
        tensors, head = from_bytes(body), _head(body)
        runs, plain = content.parse_json(head["runs"]), content.parse_json(head["plain"])
    if head.get("format") != FORMAT or runs != _names(configs):
        raise CheckpointError(f"{path}: snapshot of other runs")
    if origin is not None and (found := _unlike(content.parse_json(head["origin"]), origin)):
        raise CheckpointError(f"{path}: snapshot with {found}")
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
        found = _head_of(path)
        runs = content.parse_json(found["runs"]) if found["format"].startswith("moevae-snapshot-") else []
        return [str(run) for run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _keep(
    path: Path, training: Trainer | Population, origin: Mapping[str, str], companion: StatefulCallback | None
) -> None:
    tensors, plain = training.state()
    more, beside = companion.state() if companion else ({}, None)
    tensors |= {f"{_COMPANION}{name}": value for name, value in more.items()}
    try:
        write(path, training.configs, tensors, {"training": plain, "companion": beside}, origin)
    except OSError as error:
        warnings.warn(
            f"{path}: cannot write the snapshot ({error.strerror}); training continues", stacklevel=3
        )


def _resume(
    path: Path, training: Trainer | Population, origin: Mapping[str, str], companion: StatefulCallback | None
) -> None:
    try:
        tensors, plain = read(path, training.configs, origin)
        names = [name for name in tensors if name.startswith(_COMPANION)]
        more = {name.removeprefix(_COMPANION): tensors.pop(name) for name in names}
        with parsing(f"{path}: not a snapshot of this version", CheckpointError):
            own, beside = plain["training"], plain["companion"]
        _check(path, training, tensors, own)
        if companion:
            with parsing(f"{path}: not a snapshot of this version", CheckpointError):
                companion.restore(more, beside)
    except CheckpointError as error:
        warnings.warn(f"{error}; training starts from epoch 1", stacklevel=3)
        return
    training.restore(tensors, own)


def _check(path: Path, training: Trainer | Population, tensors: dict[str, Tensor], plain: Any) -> None:
    try:
        training.check(tensors, plain)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _tell_of_others(path: Path, configs: Sequence[RunConfig], origin: Mapping[str, str]) -> None:
    """Warn of snapshots of the same runs whose training was on other data, or by other code."""
    for other in sorted(path.parent.glob(f"{_stem(configs)}*.snapshot")):
        try:
            head = _head_of(other)
            reason = _unlike(content.parse_json(head["origin"]), origin)
        except (OSError, ValueError, KeyError, AttributeError):
            reason = "the format of another version"
        warnings.warn(
            f"{other}: snapshot with {reason}; training starts from epoch 1 and keeps this file. "
            "To continue from it, restore what it was trained with; otherwise delete it",
            stacklevel=4,
        )


def _unlike(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return how an origin differs, in words; nothing if it does not."""
    return ", ".join(
        f"different {key} ({then.get(key, '')[:SHOWN] or 'none'} then, {now[key][:SHOWN] or 'none'} now)"
        for key in now
        if then.get(key, "") != now[key]
    )


def _stem(configs: Sequence[RunConfig]) -> str:
    return _hash("-".join(_names(configs)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _names(configs: Sequence[RunConfig]) -> list[str]:
    return [fingerprint(config) for config in configs]


def _head(body: bytes) -> dict[str, str]:
    """Return a safetensors file's metadata: a length, 8 bytes, and JSON (the format's specification)."""
    length = int.from_bytes(body[:8], "little")
    return content.parse_json(body[8 : 8 + length]).get("__metadata__", {})


def _head_of(path: Path) -> dict[str, str]:
    """Return the metadata of a snapshot's file, without its tensors."""
    with path.open("rb") as file:
        length = file.read(_DIGEST + 8)[_DIGEST:]
        return _head(length + file.read(min(int.from_bytes(length, "little"), _LONGEST)))
