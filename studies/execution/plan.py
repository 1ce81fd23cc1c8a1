"""The plan of a study: the runs of its design that have records, and the missing ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.errors import RecordError
from moevae.utils import content
from studies.design.baselines import BASELINES, Chosen, of_method
from studies.design.cells import Cell, hashable
from studies.design.design import Design
from studies.records import schema, store, study_file
from studies.records.schema import Record
from studies.utils.gc_pause import paused_gc


@dataclass(frozen=True)
class Task:
    """Runs of one cell that train together as a population."""

    cell: Cell
    configs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Plan:
    """The runs of a design, divided into recorded, missing and rejected ones."""

    design: Design
    """The design with the requested seeds."""
    full_design: Design
    """The design with the requested and the earlier seeds and baselines."""
    recorded: Mapping[str, tuple[Record, ...]]
    """The records of each cell, of all seeds, by the key of the cell."""
    tasks: tuple[Task, ...]
    """The missing runs of the requested seeds."""
    refused: tuple[RecordError, ...]
    """Errors of the record files that are invalid and not counted."""

    @property
    def pending(self) -> int:
        """Number of missing runs."""
        return sum(len(task.configs) for task in self.tasks)

    @property
    def asked(self) -> int:
        """Number of runs of the design with the requested seeds, recorded or missing."""
        return sum(self.asked_of(cell) for cell in (*self.design.cells, *self.design.baseline_cells))

    def asked_of(self, cell: Cell) -> int:
        """Return the number of runs of a cell with the requested seeds, recorded or missing.

        Args:
            cell: a cell, or a baseline.
        """
        found = {record.config["seed"] for record in self.recorded[cell.key]}
        return len((found & {*self.design.seeds}) | self._missing.get(cell.key, set()))

    @cached_property
    def _missing(self) -> dict[str, set[int]]:
        """The seeds of the missing runs, by the key of their cell."""
        found: dict[str, set[int]] = {}
        for task in self.tasks:
            found.setdefault(task.cell.key, set()).update(config.seed for config in task.configs)
        return found

    @property
    def records(self) -> list[Record]:
        """All records of this design."""
        return [record for group in self.recorded.values() for record in group]

    def failures(self) -> list[Record]:
        """Return the records of the requested seeds that failed."""
        return [
            record
            for record in self.records
            if record.status == "failed" and record.config["seed"] in self.design.seeds
        ]


@paused_gc(keep=True)
def make_plan(
    design: Design,
    folder: Path,
    *,
    retry_failed: bool = False,
    found: tuple[Sequence[Record], Sequence[RecordError]] | None = None,
) -> Plan:
    """Compare a design with the records in the folder of a study, without writing anything.

    Objects that exist afterwards are excluded from later garbage collections (`gc.freeze`).

    Args:
        design: the cells, seeds and baselines of the study.
        folder: the folder of the study.
        retry_failed: whether failed runs count as missing.
        found: the result of `store.read_all`; None reads the records.

    Raises:
        RecordError: the folder holds runs of another design.
    """
    good, bad = store.read_all(folder) if found is None else found
    every = (*design.cells, *design.baseline_cells)
    owners = {cell.name(seed): cell.key for cell in every for seed in design.seeds}
    for cell in design.baseline_cells:
        if cell.method and (before := of_method(cell.method).method) != cell.method:
            # Older records, written before a baseline had a separate value of this setting.
            owners |= {schema.name_of(cell.run(seed), before): cell.key for seed in design.seeds}
    recorded: dict[str, list[Record]] = {cell.key: [] for cell in every}
    for record in good:
        config = None
        if (key := owners.get(record.fingerprint)) is None:
            config = replace(record.run_config, seed=0)
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
    tasks, full = [], _with_earlier(design, folder)
    for cell in design.cells:
        missing = tuple(cell.run(seed) for seed in design.seeds if (cell.key, seed) not in done)
        if missing:
            tasks.append(Task(cell, missing))
    for cell in design.baseline_cells:  # one task per seed, so that each is recorded as soon as it is fitted
        fitted = {record.config["seed"] for record in recorded[cell.key]}
        planned = {*full.seeds_of(cell, fitted)} & {*design.seeds}
        tasks += [Task(cell, (cell.run(seed),)) for seed in sorted(planned) if (cell.key, seed) not in done]
    return Plan(
        design=design,
        full_design=full,
        recorded={key: tuple(group) for key, group in recorded.items()},
        tasks=tuple(tasks),
        refused=tuple(bad),
    )


def split_tasks(tasks: Sequence[Task], slots: int) -> list[Task]:
    """Split tasks so that no slot is idle while another has several runs to train.

    Args:
        tasks: tasks of one or more runs each.
        slots: number of tasks that run at the same time.
    """
    parts = -(-slots // len(tasks)) if tasks else 1
    return [
        Task(task.cell, task.configs[start : start + size])
        for task in tasks
        for size in [-(-len(task.configs) // parts)]
        for start in range(0, len(task.configs), size)
    ]


def _with_earlier(design: Design, folder: Path) -> Design:
    """Return the design with the seeds and baselines of `study.json` added to its own."""
    if not (folder / "study.json").exists():
        return design
    before = study_file.read(folder)
    design = design.with_seeds(sorted({*before.seeds, *design.seeds}))
    earlier = [key for key in before.baselines if key in BASELINES]
    keys = tuple(dict.fromkeys((*earlier, *design.baselines.keys)))
    left_out = design.baselines.left_out if design.baselines.keys else tuple(before.left_out)
    return design.with_baselines(Chosen(keys, left_out)) if keys or left_out else design


def _foreign(folder: Path, config: RunConfig, design: Design) -> RecordError:
    """Return an error that names how a run in the folder differs from the nearest cell of the design."""
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
    """Return the design of an existing ablation, read from its folder.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the folder has no study, or its `study.json` is invalid.
    """
    study = study_file.read(folder)
    with content.parsing(f"{folder / study_file.NAME}: not a description of an ablation", RecordError):
        if study.search is not None or study.baseline is None:
            raise ValueError(
                "it describes a search" if study.search is not None else "it has no reference cell"
            )
        words = shlex.split(study.command.partition(" -- ")[2])
    kept = tuple(key for key in study.baselines if key in BASELINES)
    return Design(
        name=study.name,
        title=study.title,
        description=study.description,
        base=study.config,
        axes={key: tuple(map(hashable, values)) for key, values in study.axes.items()},
        reference=study.baseline,
        cells=tuple(map(Cell, study.cells, study.configs)),
        seeds=tuple(study.seeds),
        expected=None,
        invocation=tuple(words),
        profile_seeds=tuple(study.seeds),
        baselines=Chosen(kept, tuple(study.left_out)),
    )
