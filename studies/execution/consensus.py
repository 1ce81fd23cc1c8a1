"""The consensus of the runs of a cell, from their kept weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from moevae.config.overrides import fingerprint
from moevae.errors import IdentityError, RecordError
from moevae.evaluation.all_images import gate_probs
from moevae.evaluation.clustering import clustering
from moevae.evaluation.consensus import consensus
from moevae.training import checkpoint
from studies.execution.config import ExecutionConfig
from studies.execution.data import checked_data
from studies.execution.plan import design_of, make_plan
from studies.records import weights
from studies.records.consensus import Consensus, ConsensusGroup, minutes_of, reference_of
from studies.records.schema import Record


def consensus_of_study(
    folder: Path,
    size: int,
    execution: ExecutionConfig | None = None,
    on_member: Callable[[Record], None] | None = None,
) -> Consensus:
    """Return the consensus of each group of runs of a cell; nothing is written.

    The runs of a cell with kept weights form disjoint groups of consecutive seeds. An incomplete group is
    left out.

    Args:
        folder: the folder of the study.
        size: number of runs of a group, at least 2.
        execution: where the data are.
        on_member: called after each run.

    Raises:
        RecordError: no cell has enough runs with weights, or the weights of a run are not its own.
        IdentityError: the data differ from those that a run was trained on.
        MoevaeError: weights or data cannot be read.
    """
    execution = execution or ExecutionConfig()
    groups, most = [], 0
    plan = make_plan(design_of(folder), folder)
    for cell in plan.design.cells:
        records = sorted(
            (each for each in plan.recorded[cell.key] if each.status == "complete"),
            key=lambda each: each.config["seed"],
        )
        kept = [each for each in records if weights.path_of(folder, each.fingerprint).is_file()]
        most = max(most, len(kept))
        for members in _groups(kept, size):
            groups.append(_consensus(folder, dict(cell.values), members, execution, on_member))
    if not groups:
        raise RecordError(
            f"{folder.name}: no cell has {size} complete runs with weights; the most is {most} (ablate "
            "--keep-weights all keeps them)"
        )
    return Consensus(groups=groups)


def _groups(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records) - size + 1, size):
        yield records[start : start + size]


def _consensus(
    folder: Path,
    cell: dict[str, object],
    members: Sequence[Record],
    execution: ExecutionConfig,
    on_member: Callable[[Record], None] | None,
) -> ConsensusGroup:
    probs = []
    for record in members:
        path = weights.path_of(folder, record.fingerprint)
        trained = checkpoint.load(path)
        images, labels = checked_data(trained.config.data, execution)
        if (own := fingerprint(trained.config)) != record.fingerprint:
            raise RecordError(f"{path}: the weights of run {own}; expected those of its name")
        if trained.sha256 != images.sha256:
            raise IdentityError(f"{path}: trained on other images than {images.name} has now")
        probs.append(gate_probs(trained.model, trained.config, images, "test", execution.memory))
        if on_member:
            on_member(record)
    reference = reference_of(members)
    made = consensus(probs, members.index(reference)).argmax(0).astype(np.int64)
    return ConsensusGroup.model_validate(
        {
            "cell": cell,
            "members": [each.fingerprint for each in members],
            "reference": reference.fingerprint,
            "images": len(made),
            "assignments_sha256": hashlib.sha256(made.astype("<i8").tobytes()).hexdigest(),
            "metrics": {} if labels is None else clustering(made, labels.test),
            "minutes": minutes_of(members),
        }
    )
