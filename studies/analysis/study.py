"""A study as its folder tells it: the cells and seeds that were planned, and the runs that were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from studies.analysis.metrics import Measure
from studies.records.schema import Record
from studies.records.study_file import identity
from studies.utils import formatting

DATA = "data.name"
CURVE_POINTS = 40
"""Epochs at which learning curves are kept, at most."""

CellValues = tuple[Any, ...]
"""One value per axis, in the order of the axes."""


@dataclass(frozen=True)
class StudyRun:
    """What the report needs of one record."""

    record: Record
    cell: int
    """Index into `Study.cells`; -1 for a peer's run."""
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
        gaussian = model["likelihood"] == "gaussian"
        kind = f"Gaussian (std {model['gaussian_std']:g})" if gaussian else "Bernoulli"
        return f"{kind} on {pixels} pixels"

    @property
    def held_out(self) -> tuple[object, ...]:
        """Which images the validation split has: only runs that agree on it have comparable bounds there."""
        data = self.record.config["data"]
        return data["name"], data["split_seed"], data["imbalance"], self.record.data.validation

    @property
    def objective(self) -> tuple[object, ...]:
        """What training minimized, and on which images: only runs that agree on it have comparable losses."""
        config, data = self.record.config, self.record.data
        terms = tuple(sorted((name, str(value)) for name, value in config["objective"].items()))
        return self.likelihood, terms, config["train"].get("num_samples"), self.held_out, data.train

    @property
    def complete(self) -> bool:
        """Whether the run reached its end and left metrics."""
        return self.record.status == "complete"


@dataclass(frozen=True)
class Peer:
    """A baseline method, fitted to the same data with the same seeds."""

    name: str
    """Says so where the method saw labels."""
    runs: tuple[StudyRun, ...]

    @property
    def seeds(self) -> set[int]:
        """Those that have a record."""
        return {run.seed for run in self.runs}

    def is_a(self, name: str) -> bool:
        """Return whether this is the method of that name, perhaps in one of several settings."""
        return f"{self.name}, ".startswith(f"{name}, ")

    def on(self, data: str) -> Peer:
        """Return the peer with its runs on one data set."""
        kept = (run for run in self.runs if run.record.config["data"]["name"] == data)
        return replace(self, runs=tuple(kept))


@dataclass(frozen=True)
class Study:
    """The plan of `study.json` and the runs found beside it."""

    folder: Path
    name: str
    title: str
    description: str
    command: str
    axes: Mapping[str, tuple[Any, ...]]
    cells: tuple[CellValues, ...]
    """The planned ones first, then those found only among the records."""
    baseline: int | None
    """Index of the cell that others are compared with."""
    planned_seeds: tuple[int, ...]
    planned_cells: int
    runs: tuple[StudyRun, ...]
    """By cell, then seed; one a cell and seed. Those of peers are not among them."""
    peers: tuple[Peer, ...] = ()
    planned_peers: tuple[str, ...] = ()
    """Names of the baselines that were asked for."""
    left_out: tuple[str, ...] = ()
    """Why other baselines were not fitted, a sentence each."""
    unread: tuple[str, ...] = ()
    """Why a file among the records was not counted, one line each."""
    oracle: bool = False
    """Whether labels chose the cells, as in a search that clusters well by looking."""
    base: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    """What each cell is called: its place in the plan, from 1, also in a study of one data set of several."""

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Planned and found seeds, ascending: the rows of `matrix`."""
        made = (*self.runs, *(run for peer in self.peers for run in peer.runs))
        return tuple(sorted({*self.planned_seeds, *(run.seed for run in made)}))

    @cached_property
    def failed(self) -> tuple[StudyRun, ...]:
        """The runs that ended without metrics."""
        return tuple(run for run in self.runs if not run.complete)

    @cached_property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Cell and seed of the planned runs that have no record."""
        found = {(run.cell, run.seed) for run in self.runs}
        plan = ((cell, seed) for cell in range(self.planned_cells) for seed in self.planned_seeds)
        return tuple(pair for pair in plan if pair not in found)

    @cached_property
    def missing_peers(self) -> tuple[tuple[str, int], ...]:
        """Name and seed of the planned runs of baselines that have no record."""
        if DATA in self.axes:
            parts = self.by_data().items()
            return tuple(
                (f"{name} on {data}", seed) for data, part in parts for name, seed in part.missing_peers
            )
        there = [(name, peer) for name in self.planned_peers for peer in self.peers if peer.is_a(name)]
        absent = set(self.planned_peers) - {name for name, _ in there}
        return (
            *((name, seed) for name in self.planned_peers if name in absent for seed in self.planned_seeds),
            *(
                (peer.name, seed)
                for _, peer in there
                for seed in self.planned_seeds
                if seed not in peer.seeds
            ),
        )

    @property
    def partial(self) -> bool:
        """Whether planned runs are still to come."""
        return bool(self.missing or self.missing_peers)

    def matrix(self, key: str) -> np.ndarray:
        """Return the metric of every run, [seeds, cells]; NaN where there is no number."""
        return self._matrices[key].copy() if key in self._matrices else self._blank()

    @property
    def keys(self) -> Collection[str]:
        """The metrics that at least one run has."""
        return self._matrices.keys()

    def curves(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs [E], dense at the beginning, and what a curve is there, [seeds, cells, E].

        NaN where there is no run, or it had ended.
        """
        return self._curves.get(
            name, (np.empty(0, dtype=int), np.empty((len(self.seeds), len(self.cells), 0)))
        )

    @cached_property
    def _curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        drawn = [run for run in self.runs if run.complete and run.curve]
        row = {seed: index for index, seed in enumerate(self.seeds)}
        longest = max((run.curve["epoch"][-1] for run in drawn), default=1)
        epochs = np.unique(np.round(np.geomspace(1, longest, CURVE_POINTS)).astype(int))
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for run in drawn:
            known = run.curve["epoch"]
            at = np.minimum(np.searchsorted(known, epochs), len(known) - 1)
            there = known[at] == epochs
            for name, curve in run.curve.items():
                if name not in found:
                    found[name] = epochs, np.full((len(row), len(self.cells), len(epochs)), np.nan)
                found[name][1][row[run.seed], run.cell, there] = curve[at[there]]
        return found

    def peer_matrix(self, key: str) -> np.ndarray:
        """Return the metric of every peer's run, [seeds, peers]; NaN where there is no number."""
        values = np.full((len(self.seeds), len(self.peers)), np.nan)
        for column, peer in enumerate(self.peers):
            for run in peer.runs:
                values[self.seeds.index(run.seed), column] = run.metrics.get(key, np.nan)
        return values

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

    @cached_property
    def levels(self) -> np.ndarray:
        """Which level each cell has on each axis, [cells, axes]."""
        found = np.zeros((len(self.cells), len(self.axes)), dtype=int)
        for place, values in enumerate(self.axes.values()):
            known = {identity([value]): level for level, value in enumerate(values)}
            found[:, place] = [known[identity([cell[place]])] for cell in self.cells]
        return found

    @cached_property
    def texts(self) -> Mapping[str, list[str]]:
        """The levels of each axis as texts that differ."""
        return {axis: formatting.distinct(values) for axis, values in self.axes.items()}

    def text(self, cell: int, axis: str) -> str:
        """Return what the cell has on an axis, as text that no other level has."""
        return self.texts[axis][self.levels[cell, tuple(self.axes).index(axis)]]

    def value(self, cell: int, axis: str) -> Any:
        """Return what the cell has on an axis."""
        return self.cells[cell][tuple(self.axes).index(axis)]

    def of_cell(self, cell: int) -> tuple[StudyRun, ...]:
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
            peers=tuple(peer for each in self.peers if (peer := each.on(name)).runs),
            runs=tuple(replace(run, cell=number[run.cell]) for run in self.runs if run.cell in number),
        )

    @cached_property
    def _by_cell(self) -> dict[int, tuple[StudyRun, ...]]:
        groups: dict[int, list[StudyRun]] = {}
        for run in self.runs:
            groups.setdefault(run.cell, []).append(run)
        return {cell: tuple(runs) for cell, runs in groups.items()}
