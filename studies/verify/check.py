"""A study's storage made anew from its records, and a look whether everything in its folder agrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from moevae.errors import DataError, IdentityError, RecordError
from studies.analysis.tallies import tally
from studies.design.design import Design
from studies.execution import plan as ledger
from studies.execution.plan import design_of
from studies.records import lock, packed, store, study_file
from studies.records.origins import Origins, own_files
from studies.records.schema import Record
from studies.search import search as searches
from studies.storage import open as storage
from studies.storage.open import StorageError
from studies.storage.study_sync import Trials


@dataclass(frozen=True)
class VerificationReport:
    """What was found in a study's folder."""

    planned: int
    """Runs of cells and of baselines."""
    complete: int
    failed: int
    baselines: int
    """Of `planned`, runs of baselines."""
    complete_baselines: int
    compared: bool
    """Whether there is a storage, and it was compared with the records."""
    problems: tuple[str, ...]
    """One line each: what cannot be trusted, and is not counted."""
    notes: tuple[str, ...] = ()
    """One line each: what was not compared, and why."""


def verify(folder: Path, url: str | None = None) -> VerificationReport:
    """Check a study's records against their fingerprints, its plan, and its storage. Writes nothing.

    Args:
        folder: the study's own.
        url: Optuna's storage; the SQLite file in the folder if None.

    Raises:
        RecordError: there is no study in the folder, or its description is torn.
    """
    plan = study_file.read(folder)
    owner = lock.holder(folder)
    good, refused = store.read_all(folder)
    problems = [str(error) for error in refused]
    compared = False
    if plan.search is not None:
        search = searches.read(folder)
        problems += _in_words(lambda: searches.plan_of_search(search, folder))
    else:
        design = design_of(folder)
        if found := _in_words(lambda: ledger.make_plan(design, folder)):
            problems += found
        elif owner is None:
            problems += _unfitted(design, folder)
            compared = _has_storage(folder, url)
            problems += _storage_problems(design, folder, url) if compared else []
    problems += _in_words(lambda: _check_data(folder, good))
    if owner is None:  # a driver at work writes pictures before the record that mentions them
        problems += _strays(folder, good)
    counts = tally(plan, good)
    return VerificationReport(
        planned=counts.planned,
        complete=counts.complete,
        failed=counts.failed,
        baselines=counts.planned_baselines,
        complete_baselines=counts.complete_baselines,
        compared=compared,
        problems=tuple(problems),
        notes=(f"{owner} works on this study: its storage was not compared",) if owner else (),
    )


def _has_storage(folder: Path, url: str | None) -> bool:
    """Return whether there is a storage to compare."""
    return url is not None or (folder / storage.FILES[0]).exists()


def _unfitted(design: Design, folder: Path) -> Iterator[str]:
    """Name the runs of baselines without a record where all cells are done: no trial would miss them."""
    tasks = ledger.make_plan(design, folder).tasks
    if any(task.cell.method is None for task in tasks):
        return
    for task in tasks:
        seeds = ", ".join(str(config.seed) for config in task.configs)
        yield f"no record of a baseline: {task.cell.label}, seed {seeds}"


def _storage_problems(design: Design, folder: Path, url: str | None) -> list[str]:
    """Return where the storage disagrees with the records, a line each."""
    recorded = ledger.make_plan(design, folder).recorded
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
        if path.suffix != ".json" and path.name not in known and not _has_owner(folder, path.name):
            yield f"{path}: no record mentions it"
    try:
        pictures = packed.pictures(folder)
    except RecordError as error:
        yield str(error)
        return
    for name in sorted({*pictures.kept, *pictures.dropped} - known):
        if not _has_owner(folder, name):
            yield f"{folder / packed.PICTURES}: no record mentions {name}"


def _has_owner(folder: Path, name: str) -> bool:
    """Return whether a record is there, refused or not, that a picture has its name of."""
    with suppress(RecordError):
        return store.exists(folder, name.partition("-")[0])
    return True


def _check_data(folder: Path, good: Sequence[Record]) -> None:
    """Compare the data of the records with each other, and with a person's own files that are there."""
    Origins(files=own_files(record.data.name for record in good)).begin(folder, good)


def _in_words(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except (RecordError, DataError, IdentityError) as error:
        return [str(error)]
    return []
