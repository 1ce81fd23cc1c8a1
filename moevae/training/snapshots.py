"""Snapshots: the state of a population during training, as a safetensors file with a checksum.

Training continues from a snapshot only if the file is intact and the configurations, the data, the code and
the kind of device are the same. The file name contains a digest of all of these. A snapshot of other data or
code is therefore kept, and training can continue from it after the data or the code are restored.
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
from moevae.training.fit import train
from moevae.training.population import Population
from moevae.training.results import EpochStats, FitResult
from moevae.training.trainer import Trainer
from moevae.utils import content, identity
from moevae.utils.content import parsing
from moevae.utils.identity import DIGEST_DIGITS, DataIdentity
from moevae.utils.io import remove_empty, write_atomically

FORMAT = "moevae-snapshot-2"
_COMPANION = "companion."
_DIGEST = hashlib.sha256().digest_size
_LONGEST = 1 << 26
"""Largest header, in bytes."""


class StatefulCallback(Protocol):
    """A callback whose state is saved and restored together with the population."""

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """Return tensors by name, and plain data that JSON can represent."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], plain: Any) -> None:
        """Restore a `state`; if this raises, the callback is unchanged."""
        ...


def origin(data: DataIdentity, device: str, *packages: str) -> dict[str, str]:
    """Return everything besides the configurations that determines the numbers of training.

    Args:
        data: identity of the training data; the labels count if they are known.
        device: kind of device, such as `cpu`.
        packages: packages whose source code counts; the default is `moevae`.
    """
    code = identity.code_identity(*(packages or ("moevae",)))
    return {
        "images": data.images,
        "size of images": " x ".join(map(str, data.size or ())),
        "labels": data.labels or "",
        "source code": code.source,
        "torch": code.torch,
        "device": device,
    }


def snapshot_path(folder: Path, configs: Sequence[RunConfig], origin: Mapping[str, str]) -> Path:
    """Return the path of a snapshot.

    Args:
        folder: folder of the snapshots.
        configs: one per run; their order counts.
        origin: what determines the numbers, from `origin`.
    """
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
    """Train a population to the end; continue from its snapshot if there is a valid one.

    A snapshot of the same runs with another origin causes a warning and is kept. The snapshot is also kept
    when training ends, until the caller has saved the results; see `remove`.

    Args:
        training: the initialized population.
        folder: folder of the snapshots; None writes none.
        origin: what determines the numbers, from `origin`.
        seconds: least time between two snapshots, in seconds.
        on_epoch: called after each epoch.
        companion: saved and restored with the population.

    Returns:
        The trained population.
    """
    file = None
    if folder:
        file = SnapshotFile(snapshot_path(folder, training.configs, origin), origin, seconds, companion)
    return train(training, snapshots=file, on_epoch=on_epoch)


class SnapshotFile:
    """The snapshot of one population; it is written at the end of an epoch if enough time has passed.

    Args:
        path: the file.
        origin: what determines the numbers, from `origin`.
        seconds: least time between two snapshots, in seconds.
        companion: saved and restored with the population; None saves the population only.
    """

    def __init__(
        self, path: Path, origin: Mapping[str, str], seconds: float, companion: StatefulCallback | None
    ) -> None:
        self.path, self.origin, self.seconds, self.companion = path, origin, seconds, companion
        self._saved = time.perf_counter()

    def restore(self, trainer: Trainer | Population) -> None:
        """Restore the population from the file, or warn about other snapshots of the same runs."""
        if self.path.exists():
            _resume(self.path, trainer, self.origin, self.companion)
        else:
            _warn_about_others(self.path, trainer.configs, self.origin)
        self._saved = time.perf_counter()

    def save(self, trainer: Trainer | Population) -> None:
        """Write the file if the last snapshot is old enough."""
        if time.perf_counter() - self._saved >= self.seconds:
            _save(self.path, trainer, self.origin, self.companion)
            self._saved = time.perf_counter()


def write(
    path: Path,
    configs: Sequence[RunConfig],
    tensors: Mapping[str, Tensor],
    plain: Any,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write a snapshot, atomically.

    Args:
        path: the file.
        configs: one per run.
        tensors: tensors by name.
        plain: plain data that JSON can represent.
        origin: what determines the numbers, from `origin`.

    Raises:
        OSError: the file cannot be written.
    """
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
    """Read a snapshot.

    Args:
        path: the file.
        configs: the configurations that the snapshot must have.
        origin: the origin that the snapshot must have; None accepts any.

    Returns:
        The tensors by name, and the plain data.

    Raises:
        CheckpointError: the file is missing, truncated or modified, or has other configurations or another
            origin.
    """
    with parsing(f"{path}: cannot be read", CheckpointError):
        whole = content.read(path, content.available_memory() // 3)
    digest, body = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: checksum mismatch: the file is truncated or modified")
    with parsing(f"{path}: not a snapshot of this version", CheckpointError):
        tensors, head = from_bytes(body), _head(body)
        runs, plain = content.parse_json(head["runs"]), content.parse_json(head["plain"])
        then = _origin(head)
    if head.get("format") != FORMAT or runs != _names(configs):
        raise CheckpointError(f"{path}: snapshot of other runs")
    if origin is not None and (found := _unlike(then, origin)):
        raise CheckpointError(f"{path}: snapshot with {found}")
    return tensors, plain


def remove(folder: Path, done: Collection[str]) -> None:
    """Remove the snapshots whose runs are all done, and the folder if it is then empty.

    Args:
        folder: folder of the snapshots; other files are kept.
        done: fingerprints of the runs that are done.
    """
    for path in folder.glob("*.snapshot"):
        runs = _runs(path)
        if runs and all(run in done for run in runs):
            path.unlink(missing_ok=True)
    remove_empty([folder])


def _runs(path: Path) -> list[str]:
    """Return the fingerprints of the runs of a snapshot from its header; none if it is not a snapshot."""
    try:
        if path.is_symlink() or not path.is_file():
            return []
        found = _head_of(path)
        runs = content.parse_json(found["runs"]) if found["format"].startswith("moevae-snapshot-") else []
        return [str(run) for run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _save(
    path: Path, training: Trainer | Population, origin: Mapping[str, str], companion: StatefulCallback | None
) -> None:
    """Write the state of a population and of its companion; a failure causes a warning only."""
    tensors, plain = training.state()
    companion_tensors, companion_plain = companion.state() if companion else ({}, None)
    tensors |= {f"{_COMPANION}{name}": value for name, value in companion_tensors.items()}
    try:
        write(path, training.configs, tensors, {"training": plain, "companion": companion_plain}, origin)
    except OSError as error:
        warnings.warn(
            f"{path}: cannot write the snapshot ({error.strerror}); training continues", stacklevel=5
        )


def _resume(
    path: Path, training: Trainer | Population, origin: Mapping[str, str], companion: StatefulCallback | None
) -> None:
    """Restore a population and its companion; an invalid snapshot causes a warning and changes nothing."""
    try:
        tensors, plain = read(path, training.configs, origin)
        names = [name for name in tensors if name.startswith(_COMPANION)]
        companion_tensors = {name.removeprefix(_COMPANION): tensors.pop(name) for name in names}
        with parsing(f"{path}: not a snapshot of this version", CheckpointError):
            own, companion_plain = plain["training"], plain["companion"]
        _check(path, training, tensors, own)
        if companion:
            with parsing(f"{path}: not a snapshot of this version", CheckpointError):
                companion.restore(companion_tensors, companion_plain)
    except CheckpointError as error:
        warnings.warn(f"{error}; training starts from epoch 1", stacklevel=5)
        return
    training.restore(tensors, own)


def _check(path: Path, training: Trainer | Population, tensors: dict[str, Tensor], plain: Any) -> None:
    try:
        training.check(tensors, plain)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _warn_about_others(path: Path, configs: Sequence[RunConfig], origin: Mapping[str, str]) -> None:
    """Warn about snapshots of the same runs that have another origin."""
    for other in sorted(path.parent.glob(f"{_stem(configs)}*.snapshot")):
        try:
            reason = _unlike(_origin(_head_of(other)), origin)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            reason = "the format of another version"
        warnings.warn(
            f"{other}: snapshot with {reason}; training starts from epoch 1 and keeps this file. "
            "To continue from it, restore what it was trained with; otherwise delete it",
            stacklevel=5,
        )


def _origin(head: Mapping[str, str]) -> dict[str, str]:
    """Return the origin in the metadata of a snapshot, as texts."""
    return {key: str(value) for key, value in dict(content.parse_json(head["origin"])).items()}


def _unlike(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the differences of two origins as text; empty if there are none."""
    pairs = {key: (then.get(key, ""), now[key]) for key in now if then.get(key, "") != now[key]}
    return ", ".join(
        f"different {key} ({old[:DIGEST_DIGITS] or 'none'} then, {new[:DIGEST_DIGITS] or 'none'} now)"
        for key, (old, new) in pairs.items()
    )


def _stem(configs: Sequence[RunConfig]) -> str:
    """Return the part of a file name that the configurations determine."""
    return _hash("-".join(_names(configs)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _names(configs: Sequence[RunConfig]) -> list[str]:
    """Return the fingerprints of the configurations."""
    return [fingerprint(config) for config in configs]


def _head(body: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, which begins with a length of 8 bytes and JSON."""
    length = int.from_bytes(body[:8], "little")
    return content.parse_json(body[8 : 8 + length]).get("__metadata__", {})


def _head_of(path: Path) -> dict[str, str]:
    """Return the metadata of a snapshot without reading its tensors."""
    with content.opened(path) as file:
        length = file.read(_DIGEST + 8)[_DIGEST:]
        return _head(length + file.read(min(int.from_bytes(length, "little"), _LONGEST)))
