"""Snapshots: training that is interrupted continues from the last saved state of its population.

Training continues from a snapshot only if the file is intact and the configurations, the data, the code and
the kind of device are the same.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.errors import CheckpointError
from moevae.training import snapshot_files
from moevae.training.fit import train
from moevae.training.population import Population
from moevae.training.results import EpochStats, FitResult
from moevae.training.trainer import Trainer
from moevae.utils import identity
from moevae.utils.content import parsing
from moevae.utils.identity import DataIdentity

_COMPANION = "companion."


class StatefulCallback(Protocol):
    """A callback whose state is saved and restored together with the population."""

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """Return tensors by name, and plain data that JSON can represent."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], plain: Any) -> None:
        """Restore a `state`; if this raises, the callback is unchanged.

        Args:
            tensors: tensors of the state, by name.
            plain: plain data of the state.
        """
        ...


def origin(data: DataIdentity, device: str, *packages: str) -> dict[str, str]:
    """Return everything except the configurations that determines the numbers of training.

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
        file = SnapshotFile(
            snapshot_files.snapshot_path(folder, training.configs, origin), origin, seconds, companion
        )
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
        """Restore the population from the file, or warn about other snapshots of the same runs.

        Args:
            trainer: the trainer or population, before its first epoch.
        """
        if self.path.exists():
            _resume(self.path, trainer, self.origin, self.companion)
        else:
            _warn_about_others(self.path, trainer.configs, self.origin)
        self._saved = time.perf_counter()

    def save(self, trainer: Trainer | Population) -> None:
        """Write the file if the last snapshot is old enough.

        Args:
            trainer: the trainer or population, between two epochs.
        """
        if time.perf_counter() - self._saved >= self.seconds:
            _save(self.path, trainer, self.origin, self.companion)
            self._saved = time.perf_counter()


def _save(
    path: Path, training: Trainer | Population, origin: Mapping[str, str], companion: StatefulCallback | None
) -> None:
    """Write the state of a population and of its companion; a failure causes a warning only."""
    tensors, plain = training.state()
    companion_tensors, companion_plain = companion.state() if companion else ({}, None)
    tensors |= {f"{_COMPANION}{name}": value for name, value in companion_tensors.items()}
    try:
        snapshot_files.write(
            path, training.configs, tensors, {"training": plain, "companion": companion_plain}, origin
        )
    except OSError as error:
        warnings.warn(
            f"{path}: cannot write the snapshot ({error.strerror}); training continues", stacklevel=5
        )


def _resume(
    path: Path, training: Trainer | Population, origin: Mapping[str, str], companion: StatefulCallback | None
) -> None:
    """Restore a population and its companion; an invalid snapshot causes a warning and changes nothing."""
    try:
        tensors, plain = snapshot_files.read(path, training.configs, origin)
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
    for other, reason in snapshot_files.others(path, configs, origin):
        warnings.warn(
            f"{other}: snapshot with {reason}; training starts from epoch 1 and keeps this file. "
            "To continue from it, restore what it was trained with; otherwise delete it",
            stacklevel=5,
        )
