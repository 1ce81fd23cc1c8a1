"""A study as its folder tells it: the cells and seeds that were planned, and the runs that were made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special

from moevae import config as configs
from moevae.errors import RecordError
from studies import records
from studies.measures import Measure
from studies.records import Record

DATA = "data.name"

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
    """By `split.metric`, `load.*`, `throughput.*` and `seconds.*`; empty where the run failed."""
    curve: Mapping[str, np.ndarray]
    """By name, one value an epoch; `epoch` counts them. The record's own curve is left out."""

    @property
    def likelihood(self) -> str:
        """What the bounds are bounds of: only runs that agree on it have comparable nats."""
        model, data = self.record.config["model"], self.record.config["data"]
        pixels = "gray" if data["binarization"] == "none" else "binarized"
        spread = f" (std {model['gaussian_std']:g})" if model["likelihood"] == "gaussian" else ""
        return f"{model['likelihood'].capitalize()}{spread} on {pixels} pixels"

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
    numbers: tuple[int, ...] = ()
    """What each cell is called: its place in the plan, from 1, also in a study of one data set of several."""

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
        return self._matrices[key].copy() if key in self._matrices else self._blank()

    @property
    def keys(self) -> Collection[str]:
        """The metrics that at least one run has."""
        return self._matrices.keys()

    @cached_property
    def _matrices(self) -> dict[str, np.ndarray]:
        row = {seed: index for index, seed in enumerate(self.seeds)}
        found: dict[str, np.ndarray] = {}
        for run in self.runs:
            for key, value in run.metrics.items():
                if key not in found:
                    found[key] = self._blank()
                found[key][row[run.seed], run.cell] = value
        return found

    def _blank(self) -> np.ndarray:
        return np.full((len(self.seeds), len(self.cells)), np.nan)

    def comparable(self, measure: Measure) -> np.ndarray:
        """Return `matrix` without the cells whose bounds are of another likelihood than the baseline's."""
        values = self.matrix(measure.key)
        if measure.nats:
            values[:, [likelihood != self.likelihood for likelihood in self._likelihoods]] = np.nan
        return values

    @cached_property
    def likelihood(self) -> str:
        """The baseline cell's, or else the most frequent."""
        if self.baseline is not None and self._likelihoods[self.baseline]:
            return self._likelihoods[self.baseline]
        return Counter(filter(None, self._likelihoods)).most_common(1)[0][0] if self.runs else ""

    @cached_property
    def _likelihoods(self) -> tuple[str, ...]:
        """One a cell; empty where it has no run."""
        return tuple(
            runs[0].likelihood if (runs := self.of_cell(cell)) else "" for cell in range(len(self.cells))
        )

    def value(self, cell: int, axis: str) -> Any:
        """Return what the cell has on an axis."""
        return self.cells[cell][tuple(self.axes).index(axis)]

    def of_cell(self, cell: int) -> tuple[Run, ...]:
        """Return the runs of a cell, by seed."""
        return self._by_cell.get(cell, ())

    def by_data(self) -> dict[str, Study]:
        """Return one study a data set, without that axis: numbers of different images are never compared."""
        if DATA not in self.axes:
            return {str(self.base.get("data", {}).get("name", "")): self}
        return {str(name): self._restricted(name) for name in self.axes[DATA]}

    def _restricted(self, name: Any) -> Study:
        place = tuple(self.axes).index(DATA)
        kept = [number for number, cell in enumerate(self.cells) if cell[place] == name]
        number = {old: new for new, old in enumerate(kept)}
        bare = [self.cells[old][:place] + self.cells[old][place + 1 :] for old in kept]
        reference = self.cells[self.baseline] if self.baseline is not None else None
        twin = reference[:place] + reference[place + 1 :] if reference else None
        return replace(
            self,
            axes={axis: values for axis, values in self.axes.items() if axis != DATA},
            cells=tuple(bare),
            baseline=bare.index(twin) if twin in bare else None,
            planned_cells=sum(old < self.planned_cells for old in kept),
            numbers=tuple(self.numbers[old] for old in kept),
            runs=tuple(replace(run, cell=number[run.cell]) for run in self.runs if run.cell in number),
        )

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
        numbers=tuple(range(1, len(planned) + 1)),
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
        run = Run(item.model_copy(update={"curve": []}), place, config.seed, _metrics(item), _curve(item))
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
    if record.load:
        load = np.array(record.load)
        flat["load.largest"] = float(load.max())
        flat["load.entropy"] = float(scipy.special.entr(load).sum())
    if record.throughput is not None:
        flat["throughput.train"] = record.throughput.train_images_per_second
        flat["throughput.evaluation"] = record.throughput.evaluation_images_per_second
    if record.seconds is not None:
        flat["seconds.train"] = record.seconds.train
        flat["seconds.evaluation"] = record.seconds.evaluation
    return flat


def _curve(record: Record) -> dict[str, np.ndarray]:
    if not record.curve:
        return {}
    names = record.curve[0].metrics
    columns = {name: np.array([point.metrics.get(name, np.nan) for point in record.curve]) for name in names}
    columns["loss"] = np.array([point.loss for point in record.curve])
    columns["epoch"] = np.array([point.epoch for point in record.curve])
    return columns


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
