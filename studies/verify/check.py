"""Consistency check of the files in the folder of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from moevae.errors import DataError, IdentityError, RecordError
from moevae.utils.identity import DIGEST_DIGITS
from studies.analysis.run_counts import count_runs
from studies.execution.plan import Plan, design_of, make_plan
from studies.records import consensus, lock, packed, store, study_file
from studies.records.consensus import Consensus
from studies.records.origins import Origins, sources, user_data_identities
from studies.records.schema import Record
from studies.search import search as searches
from studies.storage import connection as storage
from studies.storage.connection import StorageError
from studies.storage.study_sync import Trials
from studies.utils.formatting import count
from studies.utils.gc_pause import paused_gc


@dataclass(frozen=True)
class VerificationReport:
    """The result of checking the folder of a study."""

    planned: int
    """Number of planned runs of cells and baselines."""
    complete: int
    failed: int
    baselines: int
    """Number of planned runs of baselines."""
    complete_baselines: int
    compared: bool
    """Whether a storage exists and was compared with the records."""
    problems: tuple[str, ...]
    """Problems found, one line each; affected records are not counted."""
    notes: tuple[str, ...] = ()
    """Remarks, and checks that were skipped, with the reason, one line each."""


@paused_gc()
def verify(folder: Path, url: str | None = None) -> VerificationReport:
    """Check the records of a study against their fingerprints, the plan and the storage. Writes nothing.

    Args:
        folder: the folder of the study.
        url: URL of Optuna's storage; None uses the SQLite file in the folder.

    Raises:
        RecordError: the folder has no study, or its `study.json` is invalid.
    """
    plan = study_file.read(folder)
    owner = lock.holder(folder)
    # Only trials in a storage have learning curves to compare.
    good, refused = store.read_all(folder, curves=_has_storage(folder, url))
    problems = [str(error) for error in refused]
    compared = False
    if plan.search is not None:
        search = searches.read(folder)
        problems += _in_words(lambda: searches.plan_of_search(search, folder))
    else:
        design = design_of(folder)
        try:
            state = make_plan(design, folder, found=(good, refused))
        except (RecordError, DataError, IdentityError) as error:
            problems.append(str(error))
        else:
            if owner is None:
                problems += _unfitted(state)
                compared = _has_storage(folder, url)
                problems += _storage_problems(state, folder, url) if compared else []
    problems += _in_words(lambda: _check_data(folder, good))
    found: list[Consensus | None] = []
    problems += _in_words(lambda: found.append(consensus.read(folder)))
    notes = [f"{owner} is working on this study: its storage was not checked"] if owner else []
    for each in filter(None, found):
        wrong = consensus.problems(each, good)
        problems += wrong
        if not wrong:
            notes.append(f"{consensus.NAME}: {count(len(each.groups), 'group')} agree with the records")
    if len(codes := sources(good)) > 1:
        parts = ", ".join(f"{source[:DIGEST_DIGITS]} {count(n, 'run')}" for source, n in codes.most_common())
        notes.append(f"records of {len(codes)} versions of the source code: {parts}")
    if owner is None:  # a running driver writes the pictures of a record before the record
        problems += _unreferenced_files(folder, good)
    counts = count_runs(plan, good)
    return VerificationReport(
        planned=counts.planned,
        complete=counts.complete,
        failed=counts.failed,
        baselines=counts.planned_baselines,
        complete_baselines=counts.complete_baselines,
        compared=compared,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _has_storage(folder: Path, url: str | None) -> bool:
    """Return whether a storage exists."""
    return url is not None or (folder / storage.FILES[0]).exists()


def _unfitted(state: Plan) -> Iterator[str]:
    """Yield the missing runs of baselines if all cells are complete; baselines have no trials."""
    if any(task.cell.method is None for task in state.tasks):
        return
    for task in state.tasks:
        seeds = ", ".join(str(config.seed) for config in task.configs)
        yield f"missing record of a baseline: {task.cell.label}, seed {seeds}"


def _storage_problems(state: Plan, folder: Path, url: str | None) -> list[str]:
    """Return the differences between storage and records, one line each."""
    try:
        with (
            nullcontext(folder) if url else storage.copied(folder) as place,
            storage.opened(url or storage.default_url(place)) as opened,
        ):
            return Trials(opened, state.design, place).differences(state.recorded)
    except StorageError as error:
        return [str(error)]


def _unreferenced_files(folder: Path, good: Sequence[Record]) -> Iterator[str]:
    """Yield the files that no record refers to, except those of an invalid record."""
    known = {picture.file for record in good for picture in record.pictures.values()}
    for path in sorted((folder / "records").glob("*")):
        if path.suffix != ".json" and path.name not in known and not _has_owner(folder, path.name):
            yield f"{path}: no record refers to this file"
    try:
        pictures = packed.pictures(folder)
    except RecordError as error:
        yield str(error)
        return
    for name in sorted({*pictures.kept, *pictures.dropped} - known):
        if not _has_owner(folder, name):
            yield f"{folder / packed.PICTURES}: no record mentions {name}"


def _has_owner(folder: Path, name: str) -> bool:
    """Return whether the record of a picture exists, valid or not."""
    with suppress(RecordError):
        return store.exists(folder, name.partition("-")[0])
    return True


def _check_data(folder: Path, good: Sequence[Record]) -> None:
    """Compare the data of the records with each other and with the user's files, if they exist."""
    Origins(files=user_data_identities(record.run_config.data for record in good)).begin(folder, good)


def _in_words(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except (RecordError, DataError, IdentityError) as error:
        return [str(error)]
    return []
