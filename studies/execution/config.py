"""The execution settings of a study: device, threads, memory and snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from moevae.config.types import MapMethod
from studies.records.origins import Origins


@dataclass(frozen=True)
class ExecutionConfig:
    """Execution settings of runs. They affect the speed and the pictures, not the results."""

    device: str = "auto"
    data_root: str | None = None
    threads: int | None = None
    population_chunk: int | None = None
    """Number of runs of a cell trained together; None chooses by device and model size."""
    memory: int | None = None
    """Memory limit, in bytes, for one forward pass of evaluation; None sets no limit."""
    map: MapMethod = "pca"
    """Projection of the recorded map of latents."""
    snapshots: str | None = None
    """Folder for snapshots of unfinished populations; None writes no snapshots."""
    snapshot_seconds: float = 10.0
    """Training time, in seconds, before the first snapshot. Shorter training is repeated instead."""
    keep_weights: bool = False
    """Whether outcomes contain the weights."""
    origins: Origins | None = None
    """Identities of the driver's data and code, which each worker checks; None disables the check."""
