"""Weights of recorded runs: the runs are trained again, and must give the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moevae.errors import MoevaeError
from studies.execution.config import ExecutionConfig
from studies.execution.plan import Plan
from studies.records import lock, weights
from studies.records.schema import Record
from studies.verify.rerun import compare, retrained

NUMBERS = ("metrics", "load", "importance", "elbo_terms", "confusion", "reliability", "curve")
"""Fields of a record that must be bitwise equal; pictures may have been drawn by other code."""


@dataclass(frozen=True)
class RestoredWeights:
    """A recorded run that was trained again for its weights."""

    fingerprint: str
    refused: str = ""
    """Why its weights were not kept, in one line; empty if they were."""


def missing_weights(plan: Plan, folder: Path, which: weights.Keep) -> list[tuple[str, Record]]:
    """Return the recorded runs whose weights are missing, each with the key of its cell.

    Args:
        plan: the plan of the study, with its records.
        folder: the folder of the study.
        which: `all` runs of the requested seeds, or the `best` run of each cell by its training loss.

    Raises:
        RecordError: the manifest of the weights is corrupt.
    """
    there = weights.kept(folder)
    found = []
    for cell in plan.design.cells:
        runs = [record for record in plan.recorded[cell.key] if record.status == "complete"]
        if which == "best":
            runs.sort(key=lambda run: (weights.training_loss(run), run.fingerprint not in there))
            del runs[1:]
        else:
            runs = [record for record in runs if record.config["seed"] in plan.design.seeds]
        found += [(cell.key, record) for record in runs if record.fingerprint not in there]
    return found


def restore_weights(
    missing: Sequence[tuple[str, Record]],
    folder: Path,
    which: weights.Keep,
    execution: ExecutionConfig,
) -> Iterator[RestoredWeights]:
    """Train recorded runs again, one by one in this process, and keep their weights.

    The weights are kept only if all numbers equal those of the record, bit for bit.

    Args:
        missing: the result of `missing_weights`.
        folder: the folder of the study.
        which: see `weights.keep`.
        execution: where the runs take place.

    Raises:
        StudyLockedError: another driver owns the folder.
        RecordError: a file of a user has the name of the weights.
    """
    with lock.hold(folder):
        for cell, record in missing:
            try:
                outcome = retrained(record, replace(execution, keep_weights=True, snapshots=None))
            except MoevaeError as error:
                yield RestoredWeights(record.fingerprint, str(error))
                continue
            found = compare(record, outcome.record)
            differ = [path for path in found.differ if path.partition(".")[0] in (*NUMBERS, "status")]
            if differ:
                why = f" ({found.elsewhere})" if found.elsewhere else ""
                yield RestoredWeights(record.fingerprint, f"trained again, it differs in {differ[0]}{why}")
                continue
            weights.keep(folder, cell, [outcome], which)
            yield RestoredWeights(record.fingerprint)
