"""What a study's folder holds of its design: which runs are recorded, and which are still to do."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moevae.config import overrides
from moevae.config.parsing import apply_settings
from moevae.config.schema import RunConfig
from moevae.errors import RecordError
from moevae.utils import content
from studies.design import design as designs
from studies.design.baselines import BASELINES, Chosen, of_method
from studies.design.design import Cell, Design
from studies.records import schema, store, study_file
from studies.records.schema import Record
from studies.utils.gc_pause import uncollected


@dataclass(frozen=True)
class Task:
    """Runs of one cell that train together as one population."""

    cell: Cell
    configs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Ledger:
    """The runs of a design, sorted by what became of them."""

    design: Design
    """With the seeds that were asked for."""
    whole: Design
    """With the seeds and baselines too that the study had before."""
    recorded: Mapping[str, tuple[Record, ...]]
    """By the key of the cell, every seed that has a record."""
    tasks: tuple[Task, ...]
    """What is left to do of the seeds that were asked for."""
    refused: tuple[RecordError, ...]
    """Files among the records that cannot be trusted, and are not counted."""

    @property
    def pending(self) -> int:
        """Runs still to do."""
        return sum(len(task.configs) for task in self.tasks)

    @property
    def asked(self) -> int:
        """Runs of the design, with the seeds that were asked for."""
        return len((*self.design.cells, *self.design.beside)) * len(self.design.seeds)

    @property
    def records(self) -> list[Record]:
        """All that are of this design."""
        return [record for group in self.recorded.values() for record in group]

    def failures(self) -> list[Record]:
        """Return the records of runs that failed, of the seeds that were asked for."""
        return [
            record
            for record in self.records
            if record.status == "failed" and record.config["seed"] in self.design.seeds
        ]


@uncollected(keep=True)
def make_plan(design: Design, folder: Path, *, retry_failed: bool = False) -> Ledger:
    """Compare a design with the records in a study's folder. Writes nothing.

    Raises:
        RecordError: the folder holds runs that are not of this design.
    """
    good, bad = store.read_all(folder)
    every = (*design.cells, *design.beside)
    owners = {cell.name(seed): cell.key for cell in every for seed in design.seeds}
    for cell in design.beside:
        if cell.method and (before := of_method(cell.method).method) != cell.method:
            # Records from before a setting had a value of its own.
            owners |= {schema.name_of(cell.run(seed), before): cell.key for seed in design.seeds}
    recorded: dict[str, list[Record]] = {cell.key: [] for cell in every}
    for record in good:
        config = None
        if (key := owners.get(record.fingerprint)) is None:
            config = replace(overrides.from_dict(record.config), seed=0)
            key = schema.name_of(config, record.method)
        if key in recorded:
            recorded[key].append(record)
        elif config and record.method is None:
            raise _foreign(folder, config, design)
    done = {
        (key, record.config["seed"])
        for key, group in recorded.items()
        for record in group
        if record.status == "complete" or not retry_failed
    }
    tasks = []
    for cell in design.cells:
        missing = tuple(cell.run(seed) for seed in design.seeds if (cell.key, seed) not in done)
        if missing:
            tasks.append(Task(cell, missing))
    for cell in design.beside:  # fitted one by one, so that none waits for another to be recorded
        tasks += [Task(cell, (cell.run(seed),)) for seed in design.seeds if (cell.key, seed) not in done]
    return Ledger(
        design=design,
        whole=_with_what_was(design, folder),
        recorded={key: tuple(group) for key, group in recorded.items()},
        tasks=tuple(tasks),
        refused=tuple(bad),
    )


def split_tasks(tasks: Sequence[Task], slots: int) -> list[Task]:
    """Split tasks so that no slot is idle while another has several runs to train, each on its own."""
    parts = -(-slots // len(tasks)) if tasks else 1
    return [
        Task(task.cell, task.configs[start : start + size])
        for task in tasks
        for size in [-(-len(task.configs) // parts)]
        for start in range(0, len(task.configs), size)
    ]


def write_study(ledger: Ledger, folder: Path, *, shared: bool = False) -> None:
    """Write `study.json`, unless it already says the same."""
    write_tree(ledger.whole.to_dict(), folder, shared=shared)


def write_tree(tree: Mapping[str, Any], folder: Path, *, shared: bool = False) -> None:
    """Write the content of `study.json`, unless it is there already.

    A new study gets an identity of its own, as does an old one that comes to a shared storage.
    """
    there = (folder / "study.json").exists()
    if identity := study_file.read(folder).identity if there else "":
        tree = {**tree, "identity": identity}
    elif shared or not there:
        tree = {**tree, "identity": uuid.uuid4().hex}
    content = f"{json.dumps(tree, indent=1, allow_nan=False)}\n".encode()
    path = folder / "study.json"
    if not path.exists() or path.read_bytes() != content:
        store.write_atomically(path, content)


def _with_what_was(design: Design, folder: Path) -> Design:
    """Return the design with the seeds and baselines that the study's folder tells of beside its own."""
    if not (folder / "study.json").exists():
        return design
    before = study_file.read(folder)
    design = design.with_seeds(sorted({*before.seeds, *design.seeds}))
    earlier = [key for key in before.baselines if key in BASELINES]
    keys = tuple(dict.fromkeys((*earlier, *design.baselines.keys)))
    left_out = design.baselines.left_out if design.baselines.keys else tuple(before.left_out)
    return design.with_baselines(Chosen(keys, left_out)) if keys or left_out else design


def _foreign(folder: Path, config: RunConfig, design: Design) -> RecordError:
    """Say how a run in the folder differs from the cell of the design that is nearest to it."""
    differences = min((_difference(config, cell.config) for cell in design.cells), key=len)
    key, (there, here) = next(iter(differences.items()))
    return RecordError(
        f"{folder}: holds runs of another design (its {key} is {there}, expected {here}): "
        "choose another --name for this study, or move the folder"
    )


def _difference(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    names = overrides.keys()
    pairs = {name: (overrides.lookup(one, name), overrides.lookup(other, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def design_of(folder: Path) -> Design:
    """Return the design of an ablation that was begun, as its folder tells it.

    Raises:
        RecordError: there is no study, or its description is torn.
    """
    plan = study_file.read(folder)
    with content.parsing(f"{folder / study_file.NAME}: not a description of an ablation", RecordError):
        if plan.search is not None or plan.baseline is None:
            raise ValueError("it describes a search" if plan.search is not None else "it has no baseline")
        words = shlex.split(plan.command.partition(" -- ")[2])
    kept = tuple(key for key in plan.baselines if key in BASELINES)
    return Design(
        name=plan.name,
        title=plan.title,
        description=plan.description,
        base=plan.config,
        axes={key: tuple(map(designs.hashable, values)) for key, values in plan.axes.items()},
        baseline=plan.baseline,
        cells=tuple(Cell(values, apply_settings(plan.config, values)) for values in plan.cells),
        seeds=tuple(plan.seeds),
        expected=None,
        invocation=tuple(words),
        profile_seeds=tuple(plan.seeds),
        baselines=Chosen(kept, tuple(plan.left_out)),
    )
