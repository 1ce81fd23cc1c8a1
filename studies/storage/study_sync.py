"""Synchronization of an Optuna study with the records: one trial per cell, rebuilt when needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.design.cells import Cell
from studies.design.design import Design
from studies.records.schema import Record
from studies.storage import attributes
from studies.storage.mirror import Mirror, id_of
from studies.utils.gc_pause import paused_gc


class Trials:
    """The trials of one study, written only by the driver that holds the lock of the study.

    A trial waits until its cell starts, and ends when all its runs have records. Trials left waiting or
    running by an earlier driver are continued. When an ended trial disagrees with the records (seeds were
    added, a failed run was repeated, an axis was extended), the study is rebuilt from the records.
    """

    def __init__(self, storage: BaseStorage, design: Design, folder: Path) -> None:
        """Bind the design of the study in that folder to a storage."""
        self._mirror = Mirror(
            storage,
            design.name,
            folder,
            directions={"mixture ELBO (nats per image, validation)": "maximize"},
            attributes={
                "title": design.title,
                "description": design.description,
                "command": design.command,
            },
        )
        self._design = design
        self._distributions = {key: _distribution(values) for key, values in design.axes.items()}
        self._open: dict[str, int] = {}

    @paused_gc()
    def reconcile(self, recorded: Mapping[str, Sequence[Record]], pending: Iterable[str]) -> None:
        """Update the trials from the records, and queue one trial for each pending cell.

        Args:
            recorded: the records of each cell, by the key of the cell.
            pending: keys of the cells with missing runs.

        Raises:
            StorageError: the study in this storage belongs to another folder, or the storage is not
                available.
        """
        self._mirror.do(lambda: self._reconcile(recorded, set(pending)))

    def differences(self, recorded: Mapping[str, Sequence[Record]]) -> list[str]:
        """Return the differences between trials and records, one line each. Writes nothing.

        Args:
            recorded: records by key of their cell.

        Raises:
            StorageError: the study in this storage belongs to another folder.
        """
        if not self._mirror.find():
            return [f"the storage has no study {self._design.name!r}"]
        trials = self._mirror.trials()
        cells = {cell.key: cell for cell in self._design.cells}
        counts = Counter(trial.user_attrs.get("cell_key") for trial in trials)
        found = [f"{count} trials belong to one cell" for count in counts.values() if count > 1]
        for trial in trials:
            cell = cells.get(trial.user_attrs.get("cell_key", ""))
            if cell is None:
                found.append(f"trial {trial.number} belongs to no cell of this study")
            elif trial.state.is_finished() and not _same(trial, self._finished(cell, recorded[cell.key])):
                found.append(f"trial {trial.number} differs from the records of its cell: {cell.label}")
        ended = {trial.user_attrs.get("cell_key") for trial in trials if trial.state.is_finished()}
        found += [
            f"no trial has ended for a cell whose runs all have records: {cell.label}"
            for cell in self._design.cells
            if len(recorded[cell.key]) >= len(self._design.seeds) and cell.key not in ended
        ]
        return found

    def start(self, cell: Cell) -> None:
        """Mark the trial of a cell as running."""
        number = self._open[cell.key]
        self._mirror.do(lambda: self._mirror.move(number, TrialState.RUNNING))

    def release(self, cell: Cell) -> None:
        """Return the trial of an unfinished cell to the queue."""
        if cell.key in self._open:
            number = self._open[cell.key]
            self._mirror.do(lambda: self._mirror.move(number, TrialState.WAITING))

    def finish(self, cell: Cell, recorded: Sequence[Record]) -> None:
        """End the trial of a cell with the results of its records.

        Args:
            cell: the cell.
            recorded: records of its runs.
        """
        number, end = self._open.pop(cell.key), self._finished(cell, recorded)
        self._mirror.do(lambda: self._mirror.put(number, end))

    def _reconcile(self, recorded: Mapping[str, Sequence[Record]], waiting: set[str]) -> None:
        self._mirror.open()
        trials = self._mirror.outlines(("cell_key", "runs"))
        if not self._says(trials, recorded, waiting):
            self._mirror.clear()
            trials = []
        known = {trial.user_attrs["cell_key"]: trial for trial in trials}
        self._open = {key: id_of(trial) for key, trial in known.items() if not trial.state.is_finished()}
        new: list[tuple[Cell, FrozenTrial]] = []
        for cell in self._design.cells:
            done = recorded.get(cell.key, ())
            if cell.key in waiting:
                if cell.key not in known:
                    new.append((cell, self._template(cell, state=TrialState.WAITING)))
                elif known[cell.key].state is TrialState.RUNNING:
                    self._mirror.move(self._open[cell.key], TrialState.WAITING)
            elif cell.key in self._open:
                self._mirror.put(self._open.pop(cell.key), self._finished(cell, done))
            elif cell.key not in known and done:
                new.append((cell, self._finished(cell, done)))
        numbers = self._mirror.add([trial for _, trial in new])
        for (cell, _), number in zip(new, numbers, strict=True):
            if cell.key in waiting:
                self._open[cell.key] = number

    def _says(
        self, trials: Sequence[FrozenTrial], recorded: Mapping[str, Sequence[Record]], waiting: set[str]
    ) -> bool:
        """Return whether ended trials agree with the records, and the others belong to this design."""
        if any(trial.distributions != self._distributions for trial in trials):
            return False
        cells = {cell.key for cell in self._design.cells}
        keys = [trial.user_attrs.get("cell_key", "") for trial in trials]
        if len(set(keys)) < len(keys) or not cells.issuperset(keys):
            return False
        return all(
            key not in waiting and attributes.runs(recorded.get(key, ())) == trial.user_attrs.get("runs")
            for key, trial in zip(keys, trials, strict=True)
            if trial.state.is_finished()
        )

    def _finished(self, cell: Cell, recorded: Sequence[Record]) -> FrozenTrial:
        complete = [record for record in recorded if record.status == "complete"]
        split = "validation" if all("validation" in record.metrics for record in complete) else "test"
        bounds = attributes.metrics(complete, split).get(attributes.VALUE)
        return self._template(
            cell,
            state=TrialState.COMPLETE if bounds else TrialState.FAIL,
            value=fmean(bounds) if bounds else None,
            attrs={**attributes.of_cell(recorded), "value_split": split},
            curve=attributes.curve(complete),
        )

    def _template(
        self,
        cell: Cell,
        *,
        state: TrialState,
        value: float | None = None,
        attrs: Mapping[str, Any] | None = None,
        curve: Mapping[int, float] | None = None,
    ) -> FrozenTrial:
        return create_trial(
            state=state,
            value=value,
            params={key: _choice(choice) for key, choice in cell.values.items()},
            distributions=self._distributions,
            user_attrs={"cell": cell.label, "cell_key": cell.key, **(attrs or {})},
            intermediate_values=dict(curve or {}),
        )


def _same(trial: FrozenTrial, other: FrozenTrial) -> bool:
    """Return whether two trials agree, ignoring labels and additional attributes such as notes."""
    attributes = {key: value for key, value in other.user_attrs.items() if key != "cell"}
    return (
        trial.state is other.state
        and trial.values == other.values
        and trial.params == other.params
        and trial.intermediate_values == other.intermediate_values
        and attributes.items() <= trial.user_attrs.items()
    )


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return IntDistribution(min(values), max(values))
    if kinds <= {int, float}:
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution([_choice(value) for value in values])


def _choice(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple) else value
