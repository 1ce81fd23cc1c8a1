"""A study as its folder tells it: the cells and seeds that were planned, and the runs that were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from moevae import config as configs
from moevae.errors import RecordError
from studies import records
from studies.records import Record

Cell = tuple[Any, ...]
"""One value per axis, in the order of the axes."""


@dataclass(frozen=True)
class Run:
    """What the report needs of one record."""

    record: Record
    cell: int
    """Index into `Study.cells`."""
    seed: int
    metrics: Mapping[str, float]
    """By `split.metric`, `throughput.*` and `seconds.*`; empty where the run failed."""

    @property
    def complete(self) -> bool:
        """Whether the run reached its end and left metrics."""
        return self.record.status == "complete"


@dataclass(frozen=True)
class Study:
    """The plan of `study.json` and the runs found beside it."""

    folder: Path
    name: str
    title: str
    description: str
    command: str
    axes: Mapping[str, tuple[Any, ...]]
    cells: tuple[Cell, ...]
    """The planned ones first, then those found only among the records."""
    baseline: int | None
    """Index of the cell that others are compared with."""
    planned_seeds: tuple[int, ...]
    planned_cells: int
    runs: tuple[Run, ...]
    """By cell, then seed; one a cell and seed."""
    unread: tuple[str, ...] = ()
    """Why a file among the records was not counted, one line each."""
    base: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Planned and found seeds, ascending: the rows of `matrix`."""
        return tuple(sorted({*self.planned_seeds, *(run.seed for run in self.runs)}))

    @cached_property
    def failed(self) -> tuple[Run, ...]:
        """The runs that ended without metrics."""
        return tuple(run for run in self.runs if not run.complete)

    @cached_property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Cell and seed of the planned runs that have no record."""
        found = {(run.cell, run.seed) for run in self.runs}
        plan = ((cell, seed) for cell in range(self.planned_cells) for seed in self.planned_seeds)
        return tuple(pair for pair in plan if pair not in found)

    @property
    def partial(self) -> bool:
        """Whether planned runs are still to come."""
        return bool(self.missing)

    def matrix(self, key: str) -> np.ndarray:
        """Return the metric of every run, [seeds, cells]; NaN where there is no number."""
        row = {seed: index for index, seed in enumerate(self.seeds)}
        values = np.full((len(self.seeds), len(self.cells)), np.nan)
        for run in self.runs:
            values[row[run.seed], run.cell] = run.metrics.get(key, np.nan)
        return values

    def value(self, cell: int, axis: str) -> Any:
        """Return what the cell has on an axis."""
        return self.cells[cell][tuple(self.axes).index(axis)]

    def of_cell(self, cell: int) -> tuple[Run, ...]:
        """Return the runs of a cell, by seed."""
        return self._by_cell.get(cell, ())

    @cached_property
    def _by_cell(self) -> dict[int, tuple[Run, ...]]:
        groups: dict[int, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.cell, []).append(run)
        return {cell: tuple(runs) for cell, runs in groups.items()}


def load(folder: Path) -> Study:
    """Read `study.json` and the records beside it.

    Raises:
        RecordError: there is no study in the folder, or its description is torn or lacks a part.
    """
    plan = records.study_of(folder)
    try:
        axes = {str(key): tuple(values) for key, values in plan["axes"].items()}
        planned = [tuple(cell[axis] for axis in axes) for cell in plan["cells"]]
        baseline = plan.get("baseline")
        reference = identity(baseline[axis] for axis in axes) if baseline else None
        name, seeds = str(plan["name"]), tuple(int(seed) for seed in plan["seeds"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise RecordError(f"{folder / 'study.json'}: not a study's description ({reason})") from None
    index = {identity(cell): number for number, cell in enumerate(planned)}
    runs, unread = _runs(folder, axes, planned, index)
    return Study(
        folder=folder,
        name=name,
        title=str(plan.get("title") or name),
        description=str(plan.get("description", "")),
        command=str(plan.get("command", "")),
        axes={
            axis: _levels(values, [cell[i] for cell in planned])
            for i, (axis, values) in enumerate(axes.items())
        },
        cells=tuple(planned),
        baseline=index.get(reference) if reference is not None else None,
        planned_seeds=seeds,
        planned_cells=len(plan["cells"]),
        runs=runs,
        unread=unread,
        base=plan.get("base", {}),
    )


def identity(values: Any) -> str:
    """Return a text that is equal for equal cells: 20 and 20.0 are one value, as are (64,) and [64]."""
    return json.dumps([_plain(value) for value in values])


def _runs(
    folder: Path, axes: Mapping[str, Any], cells: list[Cell], index: dict[str, int]
) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Sort the records into cells; a cell that was not planned is appended to `cells` and `index`."""
    found: dict[tuple[int, int], Run] = {}
    unread: list[str] = []
    for item in records.iterate(folder):
        if isinstance(item, RecordError):
            unread.append(str(item).removeprefix(f"{folder}/"))
            continue
        config = configs.from_dict(item.config)
        cell = tuple(configs.lookup(config, axis) for axis in axes)
        place = index.setdefault(identity(cell), len(cells))
        if place == len(cells):
            cells.append(cell)
        run = Run(item, place, config.seed, _metrics(item))
        other = found.get((place, config.seed))
        if other is not None:
            old, run = sorted((other, run), key=lambda each: (each.record.started, each.record.fingerprint))
            unread.append(
                f"records/{old.record.fingerprint}.json: another record has the same cell and seed "
                f"({run.record.fingerprint}, started later) and is counted instead"
            )
        found[place, config.seed] = run
    return tuple(found[key] for key in sorted(found)), tuple(sorted(unread))


def _metrics(record: Record) -> dict[str, float]:
    if record.status != "complete":
        return {}
    flat = {
        f"{split}.{name}": value for split, part in record.metrics.items() for name, value in part.items()
    }
    if record.throughput is not None:
        flat["throughput.train"] = record.throughput.train_images_per_second
        flat["throughput.evaluation"] = record.throughput.evaluation_images_per_second
    if record.seconds is not None:
        flat["seconds.train"] = record.seconds.train
        flat["seconds.evaluation"] = record.seconds.evaluation
    return flat


def _levels(planned: Sequence[Any], found: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of an axis in the order of the plan, then any others, numbers first, ascending."""
    seen = {identity([value]): value for value in planned}
    extra = {identity([value]): value for value in found if identity([value]) not in seen}
    return (*seen.values(), *(extra[key] for key in sorted(extra, key=lambda key: _order(extra[key]))))


def _order(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else str(value)
