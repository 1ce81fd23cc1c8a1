"""Where a study's runs take place, and what a driver has done there. Imports torch when work begins."""

from __future__ import annotations

from dataclasses import dataclass

from studies.records.origins import Origins


@dataclass(frozen=True)
class ExecutionConfig:
    """Where runs take place; it decides no number but the speed."""

    device: str = "auto"
    data_root: str | None = None
    threads: int | None = None
    population_chunk: int | None = None
    """Runs of a cell trained side by side; None chooses by device and size."""
    memory: int | None = None
    """Bytes that a look of evaluation may take; None sets no limit."""
    snapshots: str | None = None
    """Folder for populations in the middle of training; None keeps none."""
    snapshot_seconds: float = 10.0
    """Training shorter than this is done again rather than kept."""
    origins: Origins | None = None
    """The driver's data and code, with which a worker compares its own; None compares nothing."""
