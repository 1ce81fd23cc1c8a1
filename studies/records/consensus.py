"""The consensus of runs of a study, in `consensus.json`: what runs of a cell agree on, and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from moevae.errors import RecordError
from moevae.utils import content
from moevae.utils.io import write_atomically
from studies.records.schema import Record
from studies.records.study_file import Value
from studies.records.weights import training_loss

NAME = "consensus.json"
RULE = (
    "The clusters of each run are matched with those of the run with the lowest training loss in the last "
    "epoch (Hungarian method), the probabilities of the gates are averaged, and an image gets its most "
    "probable cluster (Dimitriadou, Weingessel and Hornik, 2002)."
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConsensusGroup(_Part):
    """The consensus of a group of runs of one cell on the test images."""

    cell: dict[str, Value]
    """Values of the cell on the axes."""
    members: list[str] = Field(min_length=2)
    """Fingerprints of the runs, by seed."""
    reference: str
    """Fingerprint of the run whose clusters the others are matched with."""
    images: int = Field(gt=0)
    assignments_sha256: str
    """Digest of the assignments, int64 in the order of the test images."""
    metrics: dict[str, float]
    """`acc`, `nmi` and `ari`; empty without labels."""
    minutes: float = Field(ge=0)
    """Training and evaluation of all members, in minutes of one core."""


class Consensus(_Part):
    """The content of `consensus.json`."""

    rule: str = RULE
    groups: list[ConsensusGroup]


def read(folder: Path) -> Consensus | None:
    """Return the consensus of a study; None if there is none.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the file is invalid.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    with content.parsing(f"{path}: not a consensus; `moevae consensus` writes a new one", RecordError):
        return Consensus.model_validate(content.parse_json(content.read(path)))


def write(folder: Path, found: Consensus) -> Path:
    """Write the consensus of a study and return its path.

    Args:
        folder: the folder of the study.
        found: the consensus.
    """
    write_atomically(folder / NAME, f"{found.model_dump_json(indent=1)}\n".encode())
    return folder / NAME


def reference_of(members: Sequence[Record]) -> Record:
    """Return the run with the lowest training loss, which uses no labels; the first of equal ones."""
    return min(members, key=training_loss)


def minutes_of(members: Sequence[Record]) -> float:
    """Return the time of training and evaluation of runs, in minutes of one core.

    Args:
        members: records of the runs.
    """
    return (
        sum(
            (each.seconds.train + each.seconds.evaluation)
            / each.throughput.population
            * each.hardware.threads
            for each in members
            if each.seconds and each.throughput
        )
        / 60
    )


def problems(found: Consensus, records: Sequence[Record]) -> list[str]:
    """Return the contradictions between a consensus and the records of its study, one line each.

    Args:
        found: the consensus.
        records: records of the study.
    """
    known = {each.fingerprint: each for each in records if each.status == "complete"}
    wrong: list[str] = []
    used: set[str] = set()
    for number, group in enumerate(found.groups, 1):
        where = f"{NAME}: group {number}"
        members = [known[name] for name in group.members if name in known]
        if len(members) < len(group.members):
            wrong.append(f"{where}: {len(group.members) - len(members)} members have no complete record")
            continue
        cells = {str({**each.config, "seed": None}) for each in members}
        if len(cells) > 1:
            wrong.append(f"{where}: its members are runs of {len(cells)} cells; expected one")
        if used & set(group.members) or len({*group.members}) < len(group.members):
            wrong.append(f"{where}: a run is a member twice")
        if group.reference != reference_of(members).fingerprint:
            wrong.append(f"{where}: the reference is not the run with the lowest training loss")
        if group.images != members[0].data.test:
            wrong.append(f"{where}: {group.images:,} images; expected {members[0].data.test:,}")
        if abs(group.minutes - minutes_of(members)) > 1e-6 * max(1.0, group.minutes):
            wrong.append(f"{where}: {group.minutes:.4g} minutes; its records have {minutes_of(members):.4g}")
        used |= set(group.members)
    return wrong
