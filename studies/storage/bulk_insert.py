"""Bulk insertion of trials into the tables of a database, in the format of Optuna.

Optuna writes each attribute of a trial separately, which takes about 10 ms per trial and minutes for a study
of 10,000 cells. This module supports version 12 of Optuna's tables; for other versions, Optuna writes trials.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    MetaData,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from studies.storage.statements import Statements

SCHEMA = 12
_CHUNK = 1000
_ATTACHED = ("trial_user_attributes", "trial_values", "trial_intermediate_values")


def rows(storage: BaseStorage) -> Rows | None:
    """Return the tables of a storage, or None if this module does not support the storage.

    Args:
        storage: the storage.
    """
    if not isinstance(storage, RDBStorage):
        return None
    metadata = MetaData()
    metadata.reflect(storage.engine)
    with storage.engine.connect() as connection:
        version = connection.scalar(select(metadata.tables["version_info"].c.schema_version))
    return Rows(storage, metadata) if version == SCHEMA else None


class Rows:
    """The tables that hold trials."""

    def __init__(self, storage: RDBStorage, metadata: MetaData) -> None:
        """Bind the tables to their database."""
        self._engine = storage.engine
        self._tables = metadata.tables
        self._statements = Statements(storage.engine, metadata.tables)

    def outline(self, study: int, attributes: Collection[str]) -> list[FrozenTrial]:
        """Return the trials of a study by number, with state, distributions and some user attributes.

        Args:
            study: ID of the study.
            attributes: keys of the user attributes to read.
        """
        trials, attrs, params = (
            self._tables[name] for name in ("trials", "trial_user_attributes", "trial_params")
        )
        heads = select(trials.c.trial_id, trials.c.number, trials.c.state).where(trials.c.study_id == study)
        pairs = (
            select(attrs.c.trial_id, attrs.c.key, attrs.c.value_json)
            .join(trials, trials.c.trial_id == attrs.c.trial_id)
            .where(trials.c.study_id == study, attrs.c.key.in_(attributes))
        )
        ranges = (
            select(params.c.trial_id, params.c.param_name, params.c.distribution_json)
            .join(trials, trials.c.trial_id == params.c.trial_id)
            .where(trials.c.study_id == study)
        )
        parsed = functools.cache(json_to_distribution)
        with self._engine.connect() as connection:
            found = {
                number: FrozenTrial(
                    number=place,
                    state=TrialState[state],
                    value=None,
                    datetime_start=None,
                    datetime_complete=None,
                    params={},
                    distributions={},
                    user_attrs={},
                    system_attrs={},
                    intermediate_values={},
                    trial_id=number,
                )
                for number, place, state in connection.execute(heads.order_by(trials.c.number))
            }
            for number, key, value in connection.execute(pairs):
                found[number].user_attrs[key] = json.loads(value)
            for number, name, text in connection.execute(ranges):
                found[number].distributions[name] = parsed(text)
        return list(found.values())

    def add(self, study: int, trials: Sequence[FrozenTrial]) -> list[int]:
        """Append trials to a study in chunks, one transaction each.

        Args:
            study: ID of the study.
            trials: the trials.

        Returns:
            IDs of the new trials.
        """
        chunks = [trials[start : start + _CHUNK] for start in range(0, len(trials), _CHUNK)]
        return [number for chunk in chunks for number in self._add(study, chunk)]

    def put(self, number: int, trial: FrozenTrial) -> None:
        """Copy the content of another trial to a trial that has not ended.

        Args:
            number: ID of the trial.
            trial: the other trial; its parameters are copied only if the trial has none.

        Raises:
            KeyError: there is no trial with this ID.
        """
        table = self._tables["trials"]
        with self._engine.begin() as connection:
            state = self._statements.scalar(connection, "trials", "state", number)
            if state is None:
                raise KeyError(number)
            if state not in ("RUNNING", "WAITING"):
                return
            for name in _ATTACHED:
                self._statements.delete(connection, name, trial_id=number)
            for key in trial.system_attrs:  # attributes of other programs are kept
                self._statements.delete(connection, "trial_system_attributes", trial_id=number, key=key)
            if self._statements.scalar(connection, "trial_params", "param_id", number) is None:
                self._parameters(connection, [(number, trial)])
            self._attach(connection, [(number, trial)])
            changes: dict[str, Any] = {"state": trial.state.name}
            if trial.state.is_finished():
                changes["datetime_complete"] = datetime.now()
            elif trial.state is TrialState.RUNNING:
                changes["datetime_start"] = trial.datetime_start
            connection.execute(update(table).where(table.c.trial_id == number).values(changes))

    def report(self, number: int, step: int, value: float) -> None:
        """Write the value of a trial after a step.

        Args:
            number: ID of the trial.
            step: number of the step.
            value: the value.
        """
        with self._engine.begin() as connection:
            self._statements.delete(connection, "trial_intermediate_values", trial_id=number, step=step)
            self._intermediate(connection, [(number, step, value)])

    def clear(self, study: int) -> None:
        """Remove all trials of a study.

        Args:
            study: ID of the study.
        """
        trials = self._tables["trials"]
        inside = select(trials.c.trial_id).where(trials.c.study_id == study)
        with self._engine.begin() as connection:
            for table in self._tables.values():
                if table is not trials and "trial_id" in table.c:
                    connection.execute(delete(table).where(table.c.trial_id.in_(inside)))
            connection.execute(delete(trials).where(trials.c.study_id == study))

    def _add(self, study: int, trials: Sequence[FrozenTrial]) -> list[int]:
        table = self._tables["trials"]
        of_study = table.c.study_id == bindparam("study_id")
        with self._engine.begin() as connection:
            first = self._statements.run(
                connection,
                ("count", "trials"),
                lambda: select(func.count()).select_from(table).where(of_study).compile(self._engine),
                [{"study_id": study}],
            ).scalar_one()
            heads = [
                {
                    "number": first + index,
                    "study_id": study,
                    "state": trial.state.name,
                    "datetime_start": trial.datetime_start,
                    "datetime_complete": trial.datetime_complete,
                }
                for index, trial in enumerate(trials)
            ]
            connection.execute(insert(table), heads)
            new = select(table.c.trial_id).where(of_study, table.c.number >= bindparam("first"))
            made = self._statements.run(
                connection,
                ("new", "trials"),
                lambda: new.order_by(table.c.number).compile(self._engine),
                [{"study_id": study, "first": first}],
            )
            numbers = list(made.scalars())
            pairs = list(zip(numbers, trials, strict=True))
            self._attach(connection, pairs)
            self._parameters(connection, pairs)
        return numbers

    def _parameters(self, connection: Connection, pairs: Sequence[tuple[int, FrozenTrial]]) -> None:
        """Write parameters."""
        self._statements.insert(
            connection,
            "trial_params",
            (
                {
                    "trial_id": number,
                    "param_name": name,
                    "param_value": trial.distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(trial.distributions[name]),
                }
                for number, trial in pairs
                for name, value in trial.params.items()
            ),
        )

    def _attach(self, connection: Connection, pairs: Sequence[tuple[int, FrozenTrial]]) -> None:
        """Write attributes, values and learning curves."""
        for table, kind in (
            ("trial_user_attributes", "user_attrs"),
            ("trial_system_attributes", "system_attrs"),
        ):
            self._statements.insert(
                connection,
                table,
                (
                    {"trial_id": number, "key": key, "value_json": json.dumps(value)}
                    for number, trial in pairs
                    for key, value in getattr(trial, kind).items()
                ),
            )
        self._statements.insert(
            connection,
            "trial_values",
            (
                {"trial_id": number, "objective": objective, "value": value, "value_type": "FINITE"}
                for number, trial in pairs
                for objective, value in enumerate(trial.values or ())
            ),
        )
        self._intermediate(
            connection,
            (
                (number, step, value)
                for number, trial in pairs
                for step, value in trial.intermediate_values.items()
            ),
        )

    def _intermediate(self, connection: Connection, points: Iterable[tuple[int, int, float]]) -> None:
        """Write values after steps: trial, step and value each."""
        self._statements.insert(
            connection,
            "trial_intermediate_values",
            (
                {
                    "trial_id": number,
                    "step": step,
                    "intermediate_value": value if math.isfinite(value) else None,
                    "intermediate_value_type": _kind(value),
                }
                for number, step, value in points
            ),
        )


def _kind(value: float) -> str:
    """Return the kind of a value as Optuna's tables name it; databases store finite numbers only."""
    if math.isnan(value):
        return "NAN"
    return "FINITE" if math.isfinite(value) else "INF_POS" if value > 0 else "INF_NEG"
