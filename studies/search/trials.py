"""The Optuna trials of a search: ask, report after each epoch, and end with the results of records."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.design.design import Cell
from studies.records.schema import Record
from studies.search import spaces
from studies.search.objectives import ORACLE
from studies.search.registry import PRUNERS, SAMPLERS
from studies.search.search import Search
from studies.storage import ownership
from studies.storage.open import with_retries
from studies.storage.study_sync import curve, tally

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


@dataclass(frozen=True)
class Attempt:
    """A trial and its cell."""

    number: int
    """Number of the trial in its study, from 0."""
    identity: int
    """ID of the trial in the storage."""
    cell: Cell


class SearchTrials:
    """The trials of one search, written only by the driver that holds the lock of the study.

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
        self._storage = storage
        self._search = search
        self._folder = folder
        self._pruner = PRUNERS.find(pruner)(search.base.train.epochs)
        self._sampler = SAMPLERS.find(sampler)

    def reconcile(self, listed: Sequence[Cell], recorded: Mapping[str, Sequence[Record]]) -> None:
        """Update the trials from the records.

        Args:
            listed: the cells that have records, in the order of their trials.
            recorded: the records of each cell, by the key of the cell.

        Raises:
            StorageError: the study in this storage belongs to another folder.
        """
        study = self._found_or_created()
        trials = study.get_trials(deepcopy=False)
        kept = [trial for trial in trials if self._agrees(trial, recorded)]
        if len(kept) < len(trials):
            optuna.delete_study(study_name=self._search.name, storage=self._storage)
            study = self._found_or_created()
            study.add_trials(kept)
        there = {trial.user_attrs.get("cell_key") for trial in kept}
        for cell in listed:
            if cell.key not in there and len(recorded[cell.key]) == len(self._search.seeds):
                study.add_trial(self._ended(cell, recorded[cell.key]))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        start = self._search.start
        if start and not study.get_trials(deepcopy=False):
            study.enqueue_trial(start)
        study.pruner = self._pruner
        self.study = study

    def ask(self) -> Attempt:
        """Return the next trial: a waiting one, or a new one from the sampler."""
        return with_retries(self._ask)

    def follow(self, attempt: Attempt, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report the value of a trial after an epoch; return whether to prune the trial."""
        (objective, *others) = self._search.objectives
        value = objective.at_epoch(metrics)
        if others or value is None:
            return False
        return with_retries(functools.partial(self._follow, attempt, epoch, value))

    def end(self, attempt: Attempt, recorded: Sequence[Record]) -> FrozenTrial:
        """End a trial with the results of its records; it fails if one of its runs failed."""
        return with_retries(functools.partial(self._end, attempt, self._ended(attempt.cell, recorded)))

    def prune(self, attempt: Attempt) -> FrozenTrial:
        """End a pruned trial with the value of its last epoch."""
        tell = functools.partial(
            self.study.tell, attempt.number, state=TrialState.PRUNED, skip_if_finished=True
        )
        return with_retries(tell)

    def release(self, attempt: Attempt) -> None:
        """Return an unfinished trial to the queue."""
        self._storage.set_trial_state_values(attempt.identity, TrialState.WAITING)

    def finished(self) -> list[FrozenTrial]:
        """Return the complete, pruned and failed trials, in order."""
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
            return [self.study.best_trial]
        sign = -1 if self._search.objectives[0].direction == "maximize" else 1
        return sorted(self.study.best_trials, key=lambda trial: sign * trial.values[0])

    def _ask(self) -> Attempt:
        # A seed for each trial, so that an interrupted search continues like an uninterrupted one.
        self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask(dict(self._search.space))
        cell = self._search.cell(trial.params)
        for name, value in (("cell", cell.label), ("cell_key", cell.key)):
            trial.set_user_attr(name, value)
        return Attempt(trial.number, trial._trial_id, cell)

    def _follow(self, attempt: Attempt, epoch: int, value: float) -> bool:
        self._storage.set_trial_intermediate_value(attempt.identity, epoch, value)
        return self._pruner.prune(self.study, self._storage.get_trial(attempt.identity))

    def _end(self, attempt: Attempt, end: FrozenTrial) -> FrozenTrial:
        if not self._storage.get_trial(attempt.identity).state.is_finished():
            for name, attribute in end.user_attrs.items():
                self._storage.set_trial_user_attr(attempt.identity, name, attribute)
        return self.study.tell(attempt.number, end.values, state=end.state, skip_if_finished=True)

    def _found_or_created(self) -> optuna.Study:
        name = self._search.name
        made = all(study.study_name != name for study in self._storage.get_all_studies())
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=[objective.direction for objective in self._search.objectives],
            load_if_exists=True,
        )
        ownership.take(self._storage, study._study_id, name, self._folder, made=made)
        attributes = {
            "title": self._search.title,
            "command": self._search.command,
            "rule": self._search.rule,
            ORACLE: self._search.oracle,
        }
        for key, value in attributes.items():
            study.set_user_attr(key, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([objective.heading for objective in self._search.objectives])
        return study

    def _agrees(self, trial: FrozenTrial, recorded: Mapping[str, Sequence[Record]]) -> bool:
        """Return whether a trial belongs to this search and agrees with the records."""
        space: Mapping[str, BaseDistribution] = self._search.space
        if trial.state is TrialState.WAITING and not trial.params:
            return True
        if trial.distributions and trial.distributions != space:
            return False
        if trial.state not in (TrialState.COMPLETE, TrialState.FAIL):
            return True
        runs = recorded.get(trial.user_attrs.get("cell_key", ""), ())
        return bool(runs) and tally(runs)["runs"] == trial.user_attrs.get("runs")

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
            user_attrs={"cell": cell.label, "cell_key": cell.key, **tally(recorded)},
            intermediate_values=followed,
        )
