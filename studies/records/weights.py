"""Weights of the runs of a study, as checkpoints in its folder.

A manifest lists the files written by the study, with their digests. Other files are never changed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from moevae.errors import RecordError
from moevae.utils import content
from moevae.utils.io import write_atomically
from studies.records.schema import Outcome, Record

Keep = Literal["best", "all"]

FOLDER = "weights"
MANIFEST = "manifest.json"


def path_of(folder: Path, fingerprint: str) -> Path:
    """Return the path of the weights of a run in the folder of a study.

    Args:
        folder: the folder of the study.
        fingerprint: the fingerprint of the run.
    """
    return folder / FOLDER / f"{fingerprint}.safetensors"


def kept(folder: Path) -> set[str]:
    """Return the fingerprints of the runs whose weights the study holds, unchanged.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the manifest is corrupt.
    """
    return {name for name, entry in _read(folder).items() if _own(path_of(folder, name), entry)}


def training_loss(record: Record) -> float:
    """Return the training loss of the last epoch, which ranks the runs of a cell without labels.

    It is the loss of the gate if the gate has no gradient from the experts. A run without a curve is last.
    """
    if not record.curve:
        return math.inf
    last = record.curve.last()
    return last.get("gate_loss", last["loss"])


def keep(folder: Path, cell: str, outcomes: Sequence[Outcome], which: Keep) -> None:
    """Write the weights of runs of one cell.

    Args:
        folder: folder of the study.
        cell: name of the cell.
        outcomes: the runs; those without weights are ignored.
        which: `all` of them, or only the `best` run of the cell, by `training_loss`; the weights of the run
            that was best before are then removed.

    Raises:
        OSError: a file cannot be written.
        RecordError: the manifest is corrupt, or a file of this name was not written by the study.
    """
    listed = _read(folder)
    for outcome in outcomes:
        if outcome.weights is None:
            continue
        name, loss = outcome.record.fingerprint, training_loss(outcome.record)
        before = [key for key, entry in listed.items() if entry["cell"] == cell and key != name]
        if which == "best" and any(listed[key]["loss"] <= loss for key in before):
            continue
        path = path_of(folder, name)
        entry = {"cell": cell, "loss": loss, "sha256": hashlib.sha256(outcome.weights).hexdigest()}
        if path.exists() and not (_own(path, listed.get(name)) or _own(path, entry)):
            raise RecordError(f"{path}: was not written by this study; move it to another folder")
        listed[name] = entry
        _write(folder, listed)  # before the weights: after a crash, a listed file may be absent, not unlisted
        write_atomically(path, outcome.weights)
        losers = before if which == "best" else []
        for key in losers:
            if _own(path_of(folder, key), listed.pop(key)):
                path_of(folder, key).unlink(missing_ok=True)
        if losers:
            _write(folder, listed)


def _own(path: Path, entry: dict[str, Any] | None) -> bool:
    """Return whether a file is unchanged since the study wrote it."""
    try:
        with content.opened(path) as file:
            return entry is not None and hashlib.sha256(file.read()).hexdigest() == entry["sha256"]
    except (OSError, ValueError):
        return False


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / FOLDER / MANIFEST
    if not path.exists():
        return {}
    with content.parsing(f"{path}: not a manifest of weights; delete it to start a new one", RecordError):
        tree = content.parse_json(content.read(path))
        return {
            str(name): {
                "cell": str(entry["cell"]),
                "loss": math.inf if entry["loss"] is None else float(entry["loss"]),
                "sha256": str(entry["sha256"]),
            }
            for name, entry in tree["files"].items()
        }


def _write(folder: Path, listed: dict[str, dict[str, Any]]) -> None:
    files = {
        name: entry | {"loss": entry["loss"] if math.isfinite(entry["loss"]) else None}
        for name, entry in sorted(listed.items())
    }
    write_atomically(folder / FOLDER / MANIFEST, f"{json.dumps({'files': files}, indent=1)}\n".encode())
