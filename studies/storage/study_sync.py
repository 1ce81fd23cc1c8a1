"""Synchronization of an Optuna study with the records: one trial per cell, rebuilt when needed."""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.design.design import Cell, Design
from studies.records.schema import Record
from studies.storage import ownership
from studies.storage.bulk_insert import Rows, rows
from studies.storage.open import StorageError, with_retries
from studies.utils.gc_pause import uncollected

VALUE = "mixture_elbo"
"""The metric that is the value of a trial: a bound that uses no labels; higher is better."""


class Trials:
    """The trials of one study, written only by the driver that holds the lock of the study.

    A trial waits until its cell starts, and ends when all its runs have records. Trials left waiting or
    running by an earlier driver are continued. When an ended trial disagrees with the records (seeds were
    added, a failed run was repeated, an axis was extended), the study is rebuilt from the records.
    """

    def __init__(self, storage: BaseStorage, design: Design, folder: Path) -> None:
        """Bind the design of the study in that folder to a storage."""
        self._storage = storage
        self._design = design
        self._distributions = {key: _distribution(values) for key, values in design.axes.items()}
        self._folder = folder
        self._study = -1
        self._open: dict[str, int] = {}
        self._rows: Rows | None = None
        self._lost: StorageError | None = None

    @uncollected()
    def reconcile(self, recorded: Mapping[str, Sequence[Record]], pending: Iterable[str]) -> None:
        """Update the trials from the records, and queue one trial for each pending cell.

        Args:
            recorded: the records of each cell, by the key of the cell.
            pending: keys of the cells with missing runs.

        Raises:
            StorageError: the study in this storage belongs to another folder, or the storage is not
                available.
        """
        self._do(lambda: self._reconcile(recorded, set(pending)))

    def differences(self, recorded: Mapping[str, Sequence[Record]]) -> list[str]:
        """Return the differences between trials and records, one line each. Writes nothing.

        Raises:
            StorageError: the study in this storage belongs to another folder.
        """
        try:
            self._study = self._storage.get_study_id_from_name(self._design.name)
        except KeyError:
            return [f"the storage has no study {self._design.name!r}"]
        ownership.check(self._storage, self._design.name, self._folder)
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        cells = {cell.key: cell for cell in self._design.cells}
        counts = Counter(trial.user_attrs.get("cell_key") for trial in trials)
        told = [f"{count} trials belong to one cell" for count in counts.values() if count > 1]
        for trial in trials:
            cell = cells.get(trial.user_attrs.get("cell_key", ""))
            if cell is None:
                told.append(f"trial {trial.number} belongs to no cell of this study")
            elif trial.state.is_finished() and not _same(trial, self._finished(cell, recorded[cell.key])):
                told.append(f"trial {trial.number} differs from the records of its cell: {cell.label}")
        ended = {trial.user_attrs.get("cell_key") for trial in trials if trial.state.is_finished()}
        told += [
            f"no trial has ended for a cell whose runs all have records: {cell.label}"
            for cell in self._design.cells
            if len(recorded[cell.key]) >= len(self._design.seeds) and cell.key not in ended
        ]
        return told

    def start(self, cell: Cell) -> None:
        """Mark the trial of a cell as running."""
        number = self._open[cell.key]
        self._do(lambda: self._storage.set_trial_state_values(number, TrialState.RUNNING))

    def release(self, cell: Cell) -> None:
        """Return the trial of an unfinished cell to the queue."""
        if cell.key in self._open:
            number = self._open[cell.key]
            self._do(lambda: self._storage.set_trial_state_values(number, TrialState.WAITING))

    def finish(self, cell: Cell, recorded: Sequence[Record]) -> None:
        """End the trial of a cell with the results of its records."""
        number, end = self._open.pop(cell.key), self._finished(cell, recorded)
        self._do(lambda: self._end(number, end))

    def _do(self, operation: Callable[[], object]) -> None:
        """Run an operation with retries; after a failure, raise the same error without waiting again."""
        if self._lost:
            raise self._lost
        try:
            with_retries(operation)
        except StorageError as error:
            self._lost = error
            raise

    def _reconcile(self, recorded: Mapping[str, Sequence[Record]], waiting: set[str]) -> None:
        self._study = self._found_or_created()
        self._rows = rows(self._storage)
        trials = self._outlines()
        if not self._says(trials, recorded, waiting):
            self._clear()
            trials = []
        known = {trial.user_attrs["cell_key"]: trial for trial in trials}
        self._open = {key: trial._trial_id for key, trial in known.items() if not trial.state.is_finished()}
        new: list[tuple[Cell, FrozenTrial]] = []
        for cell in self._design.cells:
            done = recorded.get(cell.key, ())
            if cell.key in waiting:
                if cell.key not in known:
                    new.append((cell, self._template(cell, state=TrialState.WAITING)))
                elif known[cell.key].state is TrialState.RUNNING:
                    self._storage.set_trial_state_values(self._open[cell.key], TrialState.WAITING)
            elif cell.key in self._open:
                self._end(self._open.pop(cell.key), self._finished(cell, done))
            elif cell.key not in known and done:
                new.append((cell, self._finished(cell, done)))
        numbers = self._add([trial for _, trial in new])
        for (cell, _), number in zip(new, numbers, strict=True):
            if cell.key in waiting:
                self._open[cell.key] = number

    def _outlines(self) -> list[FrozenTrial]:
        """Return the trials without learning curves, which take Optuna minutes to read."""
        if self._rows:
            return self._rows.outline(self._study, ("cell_key", "runs"))
        return self._storage.get_all_trials(self._study, deepcopy=False)

    def _clear(self) -> None:
        """Remove all trials. Optuna can only remove them with their study."""
        if self._rows:
            self._rows.clear(self._study)
            return
        self._storage.delete_study(self._study)
        self._study = self._found_or_created()

    def _add(self, trials: Sequence[FrozenTrial]) -> list[int]:
        if self._rows:
            return self._rows.add(self._study, trials)
        return [self._storage.create_new_trial(self._study, trial) for trial in trials]

    def _end(self, number: int, end: FrozenTrial) -> None:
        """Copy the content of another trial to a trial that has not ended."""
        if self._rows:
            self._rows.end(number, end)
            return
        with suppress(UpdateFinishedTrialError):
            for name, attribute in end.user_attrs.items():
                self._storage.set_trial_user_attr(number, name, attribute)
            for epoch, bound in end.intermediate_values.items():
                self._storage.set_trial_intermediate_value(number, epoch, bound)
            self._storage.set_trial_state_values(number, end.state, end.values)

    def _found_or_created(self) -> int:
        name, made = self._design.name, True
        try:
            number = self._storage.create_new_study([StudyDirection.MAXIMIZE], name)
        except DuplicatedStudyError:
            number, made = self._storage.get_study_id_from_name(name), False
        ownership.take(self._storage, number, name, self._folder, made=made)
        attributes = {
            "title": self._design.title,
            "description": self._design.description,
            "command": self._design.command,
        }
        for key, value in attributes.items():
            self._storage.set_study_user_attr(number, key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.load_study(study_name=name, storage=self._storage)
            study.set_metric_names(["mixture ELBO (nats per image, validation)"])
        return number

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
            key not in waiting and _runs(recorded.get(key, ())) == trial.user_attrs.get("runs")
            for key, trial in zip(keys, trials, strict=True)
            if trial.state.is_finished()
        )

    def _finished(self, cell: Cell, recorded: Sequence[Record]) -> FrozenTrial:
        complete = [record for record in recorded if record.status == "complete"]
        split = "validation" if all("validation" in record.metrics for record in complete) else "test"
        attributes = tally(recorded)
        bounds = _metrics(complete, split).get(VALUE)
        return self._template(
            cell,
            state=TrialState.COMPLETE if bounds else TrialState.FAIL,
            value=fmean(bounds) if bounds else None,
            attributes={**attributes, "value_split": split},
            curve=curve(complete),
        )

    def _template(
        self,
        cell: Cell,
        *,
        state: TrialState,
        value: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        curve: Mapping[int, float] | None = None,
    ) -> FrozenTrial:
        return create_trial(
            state=state,
            value=value,
            params={key: _choice(choice) for key, choice in cell.values.items()},
            distributions=self._distributions,
            user_attrs={"cell": cell.label, "cell_key": cell.key, **(attributes or {})},
            intermediate_values=dict(curve or {}),
        )


def tally(recorded: Sequence[Record]) -> dict[str, Any]:
    """Return the attributes of a trial: the number and names of its runs, and statistics of test metrics."""
    complete = [record for record in recorded if record.status == "complete"]
    attributes: dict[str, Any] = {
        "n": len(complete),
        "failed": len(recorded) - len(complete),
        "seeds": sorted(record.config["seed"] for record in complete),
        "runs": _runs(recorded),
    }
    for name, values in _metrics(complete, "test").items():
        attributes[name] = fmean(values)
        if len(values) > 1:
            attributes[f"{name} (std)"] = stdev(values)
    return attributes


def _same(trial: FrozenTrial, other: FrozenTrial) -> bool:
    """Return whether two trials agree, ignoring labels and additional attributes such as notes."""
    said = {key: value for key, value in other.user_attrs.items() if key != "cell"}
    return (
        trial.state is other.state
        and trial.values == other.values
        and trial.params == other.params
        and trial.intermediate_values == other.intermediate_values
        and said.items() <= trial.user_attrs.items()
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


def _runs(recorded: Iterable[Record]) -> list[str]:
    """Return the runs of a trial with their status."""
    return sorted(f"{record.fingerprint} {record.status}" for record in recorded)


def _metrics(records: Iterable[Record], split: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for name, value in record.metrics.get(split, {}).items():
            values[name].append(value)
    return values


def curve(records: Iterable[Record], metric: str = VALUE) -> dict[int, float]:
    """Return the mean of a validation metric over runs, by epoch."""
    points: dict[int, list[float]] = defaultdict(list)
    for record in records:
        for point in record.curve:
            if metric in point.metrics:
                points[point.epoch].append(point.metrics[metric])
    return {epoch: fmean(values) for epoch, values in sorted(points.items())}
