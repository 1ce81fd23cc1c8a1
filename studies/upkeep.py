"""A study's storage made anew from its records, and a look whether everything in its folder agrees."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import optuna

from moevae import config as configs
from moevae.errors import ConfigError, RecordError
from moevae.settings import apply_settings
from studies import designs, ledger, locks, records, searches, storage
from studies.attempts import Attempts
from studies.baselines import BASELINES, Chosen
from studies.designs import Cell, Design
from studies.records import Record
from studies.storage import StorageError
from studies.trials import Trials


@dataclass(frozen=True)
class Verdict:
    """What was found in a study's folder."""

    planned: int
    """Runs."""
    complete: int
    failed: int
    problems: tuple[str, ...]
    """One line each: what cannot be trusted, and is not counted."""
    notes: tuple[str, ...] = ()
    """One line each: what was not compared, and why."""


def verify(folder: Path, url: str | None = None) -> Verdict:
    """Check a study's records against their fingerprints, its plan, and its storage. Writes nothing.

    Args:
        folder: the study's own.
        url: Optuna's storage; the SQLite file in the folder if None.

    Raises:
        RecordError: there is no study in the folder, or its description is torn.
    """
    tree = records.study_of(folder)
    owner = locks.holder(folder)
    good, refused = records.read_all(folder)
    problems = [str(error) for error in refused]
    if "search" in tree:
        search = searches.read(folder)
        planned = len(tree["cells"]) * len(search.seeds)
        problems += _in_words(lambda: searches.survey(search, folder))
    else:
        design = design_of(folder)
        planned = len(design.cells) * len(design.seeds)
        found = _in_words(lambda: ledger.survey(design, folder))
        problems += found or (owner is None and _storage_problems(design, folder, url)) or []
    own = [record for record in good if record.method is None]
    complete = sum(record.status == "complete" for record in own)
    if owner is None:  # a driver at work writes pictures before the record that mentions them
        problems += _strays(folder, good)
    notes = (f"{owner} works on this study: its storage was not compared",) if owner else ()
    return Verdict(planned, complete, len(own) - complete, tuple(problems), notes)


def rebuild(folder: Path, url: str | None = None) -> int:
    """Make the study in the storage anew from the records; return how many trials it has.

    Trials that a search pruned left no record, and are gone.

    Raises:
        MoevaeError: no study in the folder, another driver works on it, or the storage cannot be opened.
    """
    tree = records.study_of(folder)
    with locks.hold(folder):
        if url is None:
            for name in storage.FILES:
                (folder / name).unlink(missing_ok=True)
        with storage.opened(url or storage.default_url(folder)) as opened:
            if any(study.study_name == tree["name"] for study in opened.get_all_studies()):
                storage.check_home(opened, tree["name"], folder)
                optuna.delete_study(study_name=tree["name"], storage=opened)
            if "search" in tree:
                search = searches.read(folder)
                listed, found = searches.survey(search, folder)
                recorded = {key: list(runs.values()) for key, runs in found.items()}
                Attempts(opened, search, folder).reconcile(list(listed.values()), recorded)
            else:
                design = design_of(folder)
                state = ledger.survey(design, folder)
                pending = [task.cell.key for task in state.tasks]
                Trials(opened, design, folder).reconcile(state.recorded, pending)
            return len(optuna.load_study(study_name=tree["name"], storage=opened).get_trials(deepcopy=False))


def design_of(folder: Path) -> Design:
    """Return the design of an ablation that was begun, as its folder tells it.

    Raises:
        RecordError: there is no study, or its description is torn.
    """
    tree = records.study_of(folder)
    try:
        base = configs.from_dict(tree["base"])
        cells = tuple(Cell(values, apply_settings(base, values)) for values in tree["cells"])
        seeds = tuple(tree["seeds"])
        kept = tuple(key for key in tree.get("baselines", ()) if key in BASELINES)
        return Design(
            name=tree["name"],
            title=tree["title"],
            description=tree["description"],
            base=base,
            axes={key: tuple(map(designs.hashable, values)) for key, values in tree["axes"].items()},
            baseline=tree["baseline"],
            cells=cells,
            seeds=seeds,
            expected=None,
            invocation=tuple(shlex.split(tree["command"].partition(" -- ")[2])),
            profile_seeds=seeds,
            baselines=Chosen(kept, tuple(tree.get("left_out", ()))),
        )
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise RecordError(f"{folder / 'study.json'}: not a study's description ({reason})") from None


def _storage_problems(design: Design, folder: Path, url: str | None) -> list[str]:
    """Return where the storage disagrees with the records, a line each."""
    if url is None and not (folder / storage.FILES[0]).exists():
        return []
    recorded = ledger.survey(design, folder).recorded
    try:
        with (
            nullcontext(folder) if url else storage.copied(folder) as place,
            storage.opened(url or storage.default_url(place)) as opened,
        ):
            return Trials(opened, design, place).differences(recorded)
    except StorageError as error:
        return [str(error)]


def _strays(folder: Path, good: Sequence[Record]) -> Iterator[str]:
    """Name the files among the records that no record mentions; those of a refused one go with it."""
    known = {picture.file for record in good for picture in record.pictures.values()}
    for path in sorted((folder / "records").glob("*")):
        whose = path.with_name(f"{path.name.partition('-')[0]}.json")
        if path.suffix != ".json" and path.name not in known and not whose.exists():
            yield f"{path}: no record mentions it"


def _in_words(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except RecordError as error:
        return [str(error)]
    return []
