"""Rebuilding of Optuna's storage from the records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from studies.execution.plan import design_of, make_plan
from studies.records import lock, study_file
from studies.search import search as searches
from studies.search.trials import SearchTrials
from studies.storage import connection as storage
from studies.storage import ownership
from studies.storage.study_sync import Trials


def rebuild(folder: Path, url: str | None = None) -> int:
    """Rebuild the study in the storage from the records; return its number of trials.

    Pruned trials of a search have no records and are lost.

    Args:
        folder: the folder of the study.
        url: URL of Optuna's storage; None uses the SQLite file in the folder.

    Raises:
        MoevaeError: the folder has no study, another driver owns it, or the storage cannot be opened.
    """
    plan = study_file.read(folder)
    with lock.hold(folder):
        fill = _of_study(folder) if plan.search is None else _of_search(folder)
        if url is None:
            for name in storage.FILES:
                (folder / name).unlink(missing_ok=True)
        with storage.opened(url or storage.default_url(folder)) as opened:
            if any(study.study_name == plan.name for study in opened.get_all_studies()):
                ownership.check(opened, plan.name, folder)
                optuna.delete_study(study_name=plan.name, storage=opened)
            fill(opened)
            return len(optuna.load_study(study_name=plan.name, storage=opened).get_trials(deepcopy=False))


def _of_study(folder: Path) -> Callable[[BaseStorage], None]:
    """Read the records of a study; return the function that fills a storage with them."""
    design = design_of(folder)
    plan = make_plan(design, folder)
    pending = [task.cell.key for task in plan.tasks]
    return lambda opened: Trials(opened, design, folder).reconcile(plan.recorded, pending)


def _of_search(folder: Path) -> Callable[[BaseStorage], None]:
    """Read the records of a search; return the function that fills a storage with them."""
    search = searches.read(folder)
    cells, found = searches.plan_of_search(search, folder)
    recorded = {key: list(runs.values()) for key, runs in found.items()}
    return lambda opened: SearchTrials(opened, search, folder).reconcile(list(cells.values()), recorded)
