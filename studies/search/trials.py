"""The Optuna trials of a search: ask, report after each epoch, and end with the results of records."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.design.cells import Cell
from studies.records.schema import Record
from studies.search import spaces
from studies.search.objectives import ORACLE
from studies.search.registry import PRUNERS, SAMPLERS
from studies.search.search import Search
from studies.storage.attributes import curve, of_cell
from studies.storage.mirror import Mirror, id_of

SAMPLERS.register("tpe")(lambda seed: TPESampler(seed=seed))
SAMPLERS.register("gp")(lambda seed: GPSampler(seed=seed, warn_independent_sampling=False))
SAMPLERS.register("nsga2")(lambda seed: NSGAIISampler(seed=seed))
SAMPLERS.register("random")(lambda seed: RandomSampler(seed=seed))

PRUNERS.register("median")(lambda epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 5))
PRUNERS.register("halving")(lambda epochs: SuccessiveHalvingPruner(min_resource=max(1, epochs // 16)))
PRUNERS.register("hyperband")(
    lambda epochs: HyperbandPruner(min_resource=max(1, epochs // 16), max_resource=epochs)
)
PRUNERS.register("none")(lambda epochs: NopPruner())


_NOTES = "moevae:sampler"
"""Attribute of a study with the state of its sampler, in which trials are identified by number."""


@dataclass(frozen=True)
class Attempt:
    """A trial and its cell."""

    number: int
    """Number of the trial in its study, from 0."""
    cell: Cell


class SearchTrials:
    """The trials of one search, written only by the driver that holds the lock of the study.

    Samplers and pruners work on a copy in memory, and each change is written to the storage: reading a trial
    back from a database would take longer than a small run.

    A trial left running by an earlier driver returns to the queue with its parameters. A trial whose records
    are missing is removed, and a cell that has records but no trial gets one. Pruned trials have no records:
    they exist in this storage only.
    """

    def __init__(
        self,
        storage: BaseStorage,
        search: Search,
        folder: Path,
        *,
        sampler: str = "tpe",
        pruner: str = "median",
    ) -> None:
        """Bind a search to a storage."""
        self._mirror = Mirror(
            storage,
            search.name,
            folder,
            directions={objective.heading: objective.direction for objective in search.objectives},
            attributes={
                "title": search.title,
                "command": search.command,
                "rule": search.rule,
                ORACLE: search.oracle,
            },
        )
        self._search = search
        self._pruner = PRUNERS.find(pruner)(search.base.train.epochs)
        self._sampler = SAMPLERS.find(sampler)

    def reconcile(self, listed: Sequence[Cell], recorded: Mapping[str, Sequence[Record]]) -> None:
        """Update the trials from the records.

        Args:
            listed: the cells that have records, in the order of their trials.
            recorded: the records of each cell, by the key of the cell.

        Raises:
            StorageError: the study in this storage belongs to another folder, or the storage is not
                available.
        """
        self._mirror.do(lambda: self._reconcile(listed, recorded))

    def ask(self) -> Attempt:
        """Return the next trial: a waiting one, or a new one from the sampler."""
        # A seed for each trial, so that an interrupted search continues like an uninterrupted one.
        sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
        _keep_search_space(self.study.sampler, sampler)
        self.study.sampler = sampler
        trial = self.study.ask(dict(self._search.space))
        attempt = Attempt(trial.number, self._search.cell(trial.params))
        for name, value in (("cell", attempt.cell.label), ("cell_key", attempt.cell.key)):
            trial.set_user_attr(name, value)
        self._write(attempt.number)
        self._keep_notes()
        return attempt

    def follow(self, attempt: Attempt, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report the value of a trial after an epoch.

        Args:
            attempt: the trial.
            epoch: number of the epoch, from 1.
            metrics: metrics of the validation split, by name.

        Returns:
            Whether to prune the trial.
        """
        (objective, *others) = self._search.objectives
        value = objective.at_epoch(metrics)
        if others or value is None:
            return False
        identity = self._identity(attempt.number)
        self._memory.set_trial_intermediate_value(identity, epoch, value)
        self._mirror.do(lambda: self._mirror.report(self._ids[attempt.number], epoch, value))
        return self._pruner.prune(self.study, self._memory.get_trial(identity))

    def end(self, attempt: Attempt, recorded: Sequence[Record]) -> FrozenTrial:
        """End a trial with the results of its records.

        Args:
            attempt: the trial.
            recorded: records of its runs; the trial fails if one of them failed.
        """
        end = self._ended(attempt.cell, recorded)
        for name, attribute in end.user_attrs.items():
            self._memory.set_trial_user_attr(self._identity(attempt.number), name, attribute)
        return self._tell(attempt, end.state, end.values)

    def prune(self, attempt: Attempt) -> FrozenTrial:
        """End a pruned trial with the value of its last epoch."""
        return self._tell(attempt, TrialState.PRUNED)

    def release(self, attempt: Attempt) -> None:
        """Return an unfinished trial to the queue of the next driver."""
        self._mirror.do(lambda: self._mirror.move(self._ids[attempt.number], TrialState.WAITING))

    def finished(self) -> list[FrozenTrial]:
        """Return the complete, pruned and failed trials, in order, with the IDs of the copy in memory."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return self.study.get_trials(deepcopy=False, states=states)

    def best(self) -> list[FrozenTrial]:
        """Return the best trial, or the Pareto front sorted by the first objective.

        Returns:
            An empty list if no trial is complete.
        """
        if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return []
        if len(self._search.objectives) == 1:
            return [self._memory.get_best_trial(self._study_id)]  # without a copy of it
        sign = -1 if self._search.objectives[0].direction == "maximize" else 1
        return sorted(self.study.best_trials, key=lambda trial: sign * trial.values[0])

    def _reconcile(self, listed: Sequence[Cell], recorded: Mapping[str, Sequence[Record]]) -> None:
        self._mirror.open()
        trials = self._mirror.trials()
        kept = [trial for trial in trials if self._agrees(trial, recorded)]
        ids = [id_of(trial) for trial in kept]
        if len(kept) < len(trials):
            self._mirror.clear()
            ids = self._mirror.add(kept)
        there = {trial.user_attrs.get("cell_key") for trial in kept}
        new = [
            self._ended(cell, recorded[cell.key])
            for cell in listed
            if cell.key not in there and len(recorded[cell.key]) == len(self._search.seeds)
        ]
        self._ids = [*ids, *self._mirror.add(new)]
        for place, trial in enumerate(kept):
            if trial.state is TrialState.RUNNING:
                self._mirror.move(ids[place], TrialState.WAITING)
                kept[place] = copy.copy(trial)  # Optuna may share the original
                kept[place].state = TrialState.WAITING
        self._memory = InMemoryStorage()
        self.study = optuna.create_study(
            storage=self._memory,
            study_name=self._search.name,  # the pruner Hyperband hashes it
            directions=[objective.direction for objective in self._search.objectives],
            pruner=self._pruner,
        )
        self.study.add_trials([*kept, *new])
        self._noted = self._mirror.notes(_NOTES) if len(kept) == len(trials) else {}
        for key, value in self._noted.items():
            self._memory.set_study_system_attr(self._study_id, key, value)
        start = self._search.start
        if start and not self._ids:
            self.study.enqueue_trial(start)
            self._write(0)

    def _keep_notes(self) -> None:
        """Write the state of the sampler, such as the parents of a generation."""
        notes = dict(self._memory.get_study_system_attrs(self._study_id))
        if notes != self._noted:
            self._mirror.do(lambda: self._mirror.note(_NOTES, notes))
            self._noted = notes

    def _write(self, number: int) -> None:
        """Write a trial of the copy in memory to the storage."""
        trial = self._trial(number)
        if number == len(self._ids):
            self._ids += self._mirror.do(lambda: self._mirror.add([trial]))
        else:
            self._mirror.do(lambda: self._mirror.put(self._ids[number], trial))

    def _trial(self, number: int) -> FrozenTrial:
        return self._memory.get_trial(self._identity(number))

    def _identity(self, number: int) -> int:
        """Return the ID of a trial in memory."""
        return self._memory.get_trial_id_from_study_id_trial_number(self._study_id, number)

    @property
    def _study_id(self) -> int:
        return self._memory.get_study_id_from_name(self._search.name)

    def _tell(
        self, attempt: Attempt, state: TrialState, values: Sequence[float] | None = None
    ) -> FrozenTrial:
        ended = self.study.tell(attempt.number, values, state=state)
        self._write(attempt.number)
        return ended

    def _agrees(self, trial: FrozenTrial, recorded: Mapping[str, Sequence[Record]]) -> bool:
        """Return whether a trial belongs to this search and agrees with the records."""
        space = self._search.space
        if trial.state is TrialState.WAITING and not trial.params:
            return True
        if trial.distributions and trial.distributions != space:
            return False
        if trial.state not in (TrialState.COMPLETE, TrialState.FAIL):
            return True
        runs = recorded.get(trial.user_attrs.get("cell_key", ""), ())
        return bool(runs) and of_cell(runs)["runs"] == trial.user_attrs.get("runs")

    def _ended(self, cell: Cell, recorded: Sequence[Record]) -> FrozenTrial:
        found = [objective.of(recorded) for objective in self._search.objectives]
        failed = any(record.status == "failed" for record in recorded)
        values = None if failed else [value for value in found if value is not None]
        whole = values is not None and len(values) == len(found)
        (objective, *others) = self._search.objectives
        followed = {} if others or not whole else curve(recorded, objective.name)
        return create_trial(
            state=TrialState.COMPLETE if whole else TrialState.FAIL,
            values=values if whole else None,
            params=spaces.params(cell.config, self._search.space),
            distributions=dict(self._search.space),
            user_attrs={"cell": cell.label, "cell_key": cell.key, **of_cell(recorded)},
            intermediate_values=followed,
        )


def _keep_search_space(old: BaseSampler, new: BaseSampler) -> None:
    """Let a sampler continue with the search space of the one before, which has read all earlier trials."""
    for name, value in vars(old).items():
        if isinstance(value, IntersectionSearchSpace) and type(new) is type(old):
            setattr(new, name, value)
