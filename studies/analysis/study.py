"""A study: its planned cells and seeds, and its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from studies.analysis.metrics import Measure
from studies.analysis.runs import BaselineRuns, StudyRun
from studies.records.study_file import identity
from studies.utils import formatting

DATA = "data.name"
"""Axis of the data sets."""
CURVE_POINTS = 40
"""Largest number of epochs in a learning curve."""

CellValues = tuple[Any, ...]
"""One value per axis, in the order of the axes."""


@dataclass(frozen=True)
class Study:
    """The plan in `study.json` and the runs in the records.

    Examples:
        >>> import studies
        >>> study = studies.load_study("results/objective")
        >>> study.matrix("test.nmi").shape == (len(study.seeds), len(study.cells))
        True
    """

    folder: Path
    name: str
    title: str
    description: str
    command: str
    axes: Mapping[str, tuple[Any, ...]]
    cells: tuple[CellValues, ...]
    """Planned cells, then unplanned cells found in the records."""
    reference: int | None
    """Index of the reference cell."""
    planned_seeds: tuple[int, ...]
    planned_cells: int
    runs: tuple[StudyRun, ...]
    """Runs ordered by cell and seed, without runs of baselines."""
    baselines: tuple[BaselineRuns, ...] = ()
    planned_baselines: Mapping[str, int] = field(default_factory=dict)
    """Numbers of seeds of the planned baselines, by name."""
    left_out: tuple[str, ...] = ()
    """Sentences on why other baselines were not fitted."""
    unread: tuple[str, ...] = ()
    """Reasons why files of records were excluded, one line each."""
    oracle: bool = False
    """Whether labels selected the cells, as in a search with a supervised objective."""
    base: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    """Number of each cell in the plan, from 1; kept when a study is restricted to one data set."""

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Planned and found seeds, ascending; the rows of `matrix`."""
        made = (*self.runs, *(run for baseline in self.baselines for run in baseline.runs))
        return tuple(sorted({*self.planned_seeds, *(run.seed for run in made)}))

    @cached_property
    def failed(self) -> tuple[StudyRun, ...]:
        """Failed runs."""
        return tuple(run for run in self.runs if not run.complete)

    @cached_property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Cell and seed of planned runs without a record."""
        found = {(run.cell, run.seed) for run in self.runs}
        plan = ((cell, seed) for cell in range(self.planned_cells) for seed in self.planned_seeds)
        return tuple(pair for pair in plan if pair not in found)

    @cached_property
    def missing_baselines(self) -> tuple[tuple[str, int], ...]:
        """Name and seed of planned runs of baselines without a record."""
        if DATA in self.axes:
            parts = self.by_data().items()
            return tuple(
                (f"{name} on {data}", seed) for data, part in parts for name, seed in part.missing_baselines
            )
        missing = []
        for name, count in self.planned_baselines.items():
            there = [baseline for baseline in self.baselines if baseline.is_a(name)]
            for label, seeds in [(each.name, each.seeds) for each in there] or [(name, set())]:
                left = [seed for seed in self.planned_seeds if seed not in seeds]
                missing += [(label, seed) for seed in left[: max(0, count - len(seeds))]]
        return tuple(missing)

    @property
    def partial(self) -> bool:
        """Whether planned runs are missing."""
        return bool(self.missing or self.missing_baselines)

    def matrix(self, key: str) -> np.ndarray:
        """Return the metric of every run, [seeds, cells]; NaN for missing values.

        Args:
            key: key of a measure, such as `test.nmi`.
        """
        return self._matrices[key].copy() if key in self._matrices else self._blank()

    @property
    def keys(self) -> Collection[str]:
        """Keys of metrics that at least one run has."""
        return self._matrices.keys()

    def curves(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return learning curves at log-spaced epochs.

        Args:
            name: name of the curve.

        Returns:
            Epochs [E] and values [seeds, cells, E]; NaN for missing runs and after the end of a run.
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

    def baseline_matrix(self, key: str) -> np.ndarray:
        """Return the metric of the runs of baselines, [seeds, baselines]; NaN for missing values.

        Args:
            key: key of a measure, such as `test.nmi`.
        """
        values = np.full((len(self.seeds), len(self.baselines)), np.nan)
        for column, baseline in enumerate(self.baselines):
            for run in baseline.runs:
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
        """Return `matrix`, with NaN for bounds that are not comparable with those of the reference cell.

        Bounds are comparable on the same test images with the same likelihood.

        Args:
            measure: the measure.
        """
        values = self.matrix(measure.key)
        if measure.nats:
            values[:, [likelihood != self.likelihood for likelihood in self._likelihoods]] = np.nan
            values[:, self._otherwise_tested] = np.nan
        return values

    @cached_property
    def _otherwise_tested(self) -> list[bool]:
        """Whether each cell has other test images than the reference cell, or else than most cells."""
        tested = [
            runs[0].tested_on if (runs := self.of_cell(cell)) else () for cell in range(len(self.cells))
        ]
        own = tested[self.reference] if self.reference is not None else ()
        known = Counter(filter(None, tested)).most_common(1)
        reference = own or (known[0][0] if known else ())
        return [each != reference for each in tested]

    @cached_property
    def likelihood(self) -> str:
        """Likelihood of the reference cell, or else the most frequent one."""
        if self.reference is not None and self._likelihoods[self.reference]:
            return self._likelihoods[self.reference]
        return Counter(filter(None, self._likelihoods)).most_common(1)[0][0] if self.runs else ""

    @cached_property
    def _likelihoods(self) -> tuple[str, ...]:
        """Likelihood of each cell; empty if it has no run."""
        return tuple(
            runs[0].likelihood if (runs := self.of_cell(cell)) else "" for cell in range(len(self.cells))
        )

    @cached_property
    def levels(self) -> np.ndarray:
        """Level of each cell on each axis, [cells, axes]."""
        found = np.zeros((len(self.cells), len(self.axes)), dtype=int)
        for place, values in enumerate(self.axes.values()):
            known = {identity([value]): level for level, value in enumerate(values)}
            texts = [repr(cell[place]) for cell in self.cells]
            distinct = dict(zip(texts, (cell[place] for cell in self.cells), strict=True))
            level = {text: known[identity([value])] for text, value in distinct.items()}
            found[:, place] = [level[text] for text in texts]
        return found

    @cached_property
    def texts(self) -> Mapping[str, list[str]]:
        """Levels of each axis as distinct texts."""
        return {axis: formatting.distinct(values) for axis, values in self.axes.items()}

    def text(self, cell: int, axis: str) -> str:
        """Return the level of a cell on an axis as a distinct text.

        Args:
            cell: index of the cell.
            axis: key of the axis.
        """
        return self.texts[axis][self.levels[cell, tuple(self.axes).index(axis)]]

    def value(self, cell: int, axis: str) -> Any:
        """Return the value of a cell on an axis.

        Args:
            cell: index of the cell.
            axis: key of the axis.
        """
        return self.cells[cell][tuple(self.axes).index(axis)]

    def of_cell(self, cell: int) -> tuple[StudyRun, ...]:
        """Return the runs of a cell, ordered by seed.

        Args:
            cell: index of the cell.
        """
        return self._by_cell.get(cell, ())

    def by_data(self) -> dict[str, Study]:
        """Split the study by data set, since metrics of different images are not comparable."""
        if DATA not in self.axes:
            return {str(self.base.get("data", {}).get("name", "")): self}
        return {str(name): self._restricted(name) for name in self.axes[DATA]}

    def _restricted(self, name: Any) -> Study:
        place = tuple(self.axes).index(DATA)
        kept = [number for number, cell in enumerate(self.cells) if cell[place] == name]
        number = {old: new for new, old in enumerate(kept)}
        bare = [self.cells[old][:place] + self.cells[old][place + 1 :] for old in kept]
        cell = self.cells[self.reference] if self.reference is not None else None
        same = cell[:place] + cell[place + 1 :] if cell else None
        return replace(
            self,
            axes={axis: values for axis, values in self.axes.items() if axis != DATA},
            cells=tuple(bare),
            reference=bare.index(same) if same in bare else None,
            planned_cells=sum(old < self.planned_cells for old in kept),
            numbers=tuple(self.numbers[old] for old in kept),
            baselines=tuple(baseline for each in self.baselines if (baseline := each.on(name)).runs),
            runs=tuple(replace(run, cell=number[run.cell]) for run in self.runs if run.cell in number),
        )

    @cached_property
    def _by_cell(self) -> dict[int, tuple[StudyRun, ...]]:
        groups: dict[int, list[StudyRun]] = {}
        for run in self.runs:
            groups.setdefault(run.cell, []).append(run)
        return {cell: tuple(runs) for cell, runs in groups.items()}
