"""Annotations of a study in the dashboard: notes, pictures and plots, written into its Optuna storage.

They are derived from the records when the dashboard is open. Training does not write them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import save_plotly_graph_object

from moevae.config import overrides
from studies.analysis import load
from studies.analysis.metrics import ELBO, NMI
from studies.analysis.study import Study
from studies.dashboard import adapter, artifacts, notes, plots
from studies.records import study_file
from studies.storage.mirror import id_of


def write_annotations(storage: BaseStorage, folder: Path) -> int:
    """Write annotations that are missing or outdated, without changing trials.

    Args:
        storage: the Optuna storage of the study.
        folder: the folder of the study, with `study.json` and the records.

    Returns:
        The number of attributes and plots written.

    Raises:
        MoevaeError: the folder has no study, or its description is invalid.
        KeyError: the storage does not contain the study.
    """
    study = load.load_study(folder)
    searched = study_file.read(folder).search is not None
    oracle = study.oracle
    opened = optuna.load_study(study_name=study.name, storage=storage)
    number = storage.get_study_id_from_name(study.name)
    there = storage.get_study_system_attrs(number)
    own = adapter.by_trial(there)
    wanted = dict(_note(own[None], None, notes.of_study(study, oracle=oracle)))
    cells = _cells(study)
    for trial in opened.get_trials(deepcopy=False):
        cell = cells.get(trial.user_attrs.get("cell_key", ""))
        identity = id_of(trial)
        now = own[identity]
        if trial.state is TrialState.PRUNED:
            stopped = notes.of_stopped(trial.user_attrs.get("cell", ""), trial.last_step, oracle=oracle)
            wanted |= dict(_note(now, identity, stopped))
        elif cell is not None:
            wanted |= _trial(now, number, trial, study, cell, searched, oracle)
    changes = {key: value for key, value in wanted.items() if there.get(key) != value}
    for key, value in changes.items():
        storage.set_study_system_attr(number, key, value)
    return len(changes) + _plots(storage, opened, study, there)


def _cells(study: Study) -> dict[str, int]:
    """Map the key of each trial to the index of its cell, for cells with a run."""
    keys = {}
    for cell in range(len(study.cells)):
        for run in study.of_cell(cell)[:1]:
            keys[overrides.fingerprint(replace(overrides.from_dict(run.record.config), seed=0))] = cell
    return keys


def _trial(
    there: dict[str, Any],
    number: int,
    trial: FrozenTrial,
    study: Study,
    cell: int,
    searched: bool,
    oracle: bool,
) -> dict[str, Any]:
    """Return the attributes of a trial: its note and the pictures of its first complete seed."""
    run = next((run for run in study.of_cell(cell) if run.complete), None)
    pictures = (
        {
            artifacts.name_of(run.record, kind): f"{kind}-seed-{run.seed}.png"
            for kind in artifacts.kinds(run.record, study.folder)
        }
        if run
        else {}
    )
    identity = id_of(trial)
    wanted = adapter.pictures(there, identity, pictures)
    command = notes.command_of(study, cell)
    if searched:
        command = f"{study.command} --write-profile trial-{trial.number}.toml --trial {trial.number}"
    urls = [f"/artifacts/{number}/{identity}/{name}" for name in pictures]
    text = notes.of_cell(study, cell, command, urls, oracle=oracle)
    return wanted | dict(_note(there, identity, text))


def _note(there: dict[str, Any], trial: int | None, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a note, unless a user wrote or edited it."""
    mark = f"{adapter.MARK}{'study' if trial is None else trial}"
    body, version = adapter.note_of(there, trial)
    if body == text or (body and there.get(mark) != _digest(body)):
        return
    yield from adapter.note(there, trial, text, version + 1)
    yield mark, _digest(text)


def _plots(storage: BaseStorage, opened: optuna.Study, study: Study, there: dict[str, Any]) -> int:
    """Save the plots that changed and return their number."""
    written = 0
    for number, part in enumerate(study.by_data().values()):
        figures = {f"shares-{number}": plots.shares(part)} | {
            f"strength-{measure.key.partition('.')[2]}-{number}": plots.strength(part, measure)
            for measure in (ELBO, NMI)
        }
        for name, figure in figures.items():
            if figure is None:
                continue
            mark, digest = f"{adapter.MARK}{name}", _digest(figure.to_json())
            if there.get(mark) != digest:
                save_plotly_graph_object(opened, figure, graph_object_id=name)
                storage.set_study_system_attr(storage.get_study_id_from_name(study.name), mark, digest)
                written += 1
    return written


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
