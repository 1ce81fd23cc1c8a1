"""A study in Optuna's storage, as a mirror that one driver writes: its owner, its attributes, its trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from studies.storage import ownership
from studies.storage.bulk_insert import Rows, rows
from studies.storage.connection import StorageError, with_retries

T = TypeVar("T")


def id_of(trial: FrozenTrial) -> int:
    """Return the ID of a trial in its storage; Optuna has no public attribute for it."""
    return trial._trial_id


@dataclass
class Mirror:
    """The trials of one study, written only by the driver that holds the lock of the study.

    Tables of a database are written in bulk if their version is supported, else through Optuna. Other
    programs may read at the same time, and add notes.
    """

    storage: BaseStorage
    name: str
    folder: Path
    """The folder of the study, which owns it in the storage."""
    directions: Mapping[str, str]
    """The headings of the values of a trial, each with `maximize` or `minimize`."""
    attributes: Mapping[str, Any]
    """Attributes of the study, such as its title."""
    study: int = field(default=-1, init=False)
    """ID of the study in the storage, after `open`."""
    _rows: Rows | None = field(default=None, init=False)
    _lost: StorageError | None = field(default=None, init=False)

    def do(self, operation: Callable[[], T]) -> T:
        """Run an operation with retries; after a failure, raise the same error without waiting again.

        Args:
            operation: a function that reads from or writes to the storage.

        Returns:
            The result of the operation.

        Raises:
            StorageError: the storage remained unavailable, or the study in it was deleted.
        """
        if self._lost:
            raise self._lost
        try:
            return with_retries(operation)
        except StorageError as error:
            self._lost = error
            raise

    def open(self) -> None:
        """Find or create the study, set the folder as its owner, and write its attributes.

        Raises:
            OwnedError: the study belongs to another folder.
        """
        made = True
        directions = [StudyDirection[name.upper()] for name in self.directions.values()]
        try:
            self.study = self.storage.create_new_study(directions, self.name)
        except DuplicatedStudyError:
            self.study, made = self.storage.get_study_id_from_name(self.name), False
        ownership.claim(self.storage, self.study, self.name, self.folder, made=made)
        for key, value in self.attributes.items():
            self.storage.set_study_user_attr(self.study, key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.load_study(study_name=self.name, storage=self.storage)
            study.set_metric_names([*self.directions])
        self._rows = rows(self.storage)

    def find(self) -> bool:
        """Find the study without writing anything; return whether there is one.

        Raises:
            OwnedError: the study belongs to another folder.
        """
        try:
            self.study = self.storage.get_study_id_from_name(self.name)
        except KeyError:
            return False
        ownership.check(self.storage, self.name, self.folder)
        return True

    def notes(self, key: str) -> dict[str, Any]:
        """Return the value written by `note`; empty if there is none.

        Args:
            key: key of the system attribute.
        """
        kept: dict[str, Any] = self.storage.get_study_system_attrs(self.study).get(key, {})
        return kept

    def note(self, key: str, content: Mapping[str, Any]) -> None:
        """Write a system attribute of the study, which the dashboard does not show.

        Args:
            key: key of the attribute.
            content: JSON data.
        """
        self.storage.set_study_system_attr(self.study, key, dict(content))

    def trials(self) -> list[FrozenTrial]:
        """Return the trials, by number."""
        return self.storage.get_all_trials(self.study, deepcopy=False)

    def outlines(self, attributes: Collection[str]) -> list[FrozenTrial]:
        """Return the trials without learning curves; Optuna takes minutes to read those of a large study.

        Args:
            attributes: the user attributes that are needed.
        """
        return self._rows.outline(self.study, attributes) if self._rows else self.trials()

    def clear(self) -> None:
        """Remove all trials. Optuna can only remove them with their study."""
        if self._rows:
            self._rows.clear(self.study)
            return
        self.storage.delete_study(self.study)
        self.open()

    def add(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """Append trials; return their IDs."""
        if self._rows:
            return self._rows.add(self.study, trials)
        return [self.storage.create_new_trial(self.study, trial) for trial in trials]

    def move(self, number: int, state: TrialState) -> None:
        """Set the state of a trial that has not ended.

        Args:
            number: ID of the trial.
            state: the new state.
        """
        self.storage.set_trial_state_values(number, state)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Write the value of a trial after an epoch.

        Args:
            number: ID of the trial.
            epoch: number of the epoch, from 1.
            value: the value.
        """
        if self._rows:
            self._rows.report(number, epoch, value)
        else:
            self.storage.set_trial_intermediate_value(number, epoch, value)

    def put(self, number: int, trial: FrozenTrial) -> None:
        """Copy the content of another trial to a trial that has not ended.

        Args:
            number: ID of the trial.
            trial: the other trial; its parameters are copied only if the trial has none.
        """
        if self._rows:
            self._rows.put(number, trial)
            return
        with suppress(UpdateFinishedTrialError):
            self._put(number, trial)

    def _put(self, number: int, trial: FrozenTrial) -> None:
        """Write the differences one by one."""
        there = self.storage.get_trial(number)
        for name, value in trial.params.items():
            if name not in there.params:
                kept = trial.distributions[name]
                self.storage.set_trial_param(number, name, kept.to_internal_repr(value), kept)
        for name, value in trial.user_attrs.items():
            if there.user_attrs.get(name) != value:
                self.storage.set_trial_user_attr(number, name, value)
        for name, value in trial.system_attrs.items():
            if there.system_attrs.get(name) != value:
                self.storage.set_trial_system_attr(number, name, value)
        for epoch, value in trial.intermediate_values.items():
            if there.intermediate_values.get(epoch) != value:
                self.storage.set_trial_intermediate_value(number, epoch, value)
        if trial.state is not there.state:
            self.storage.set_trial_state_values(number, trial.state, trial.values)
