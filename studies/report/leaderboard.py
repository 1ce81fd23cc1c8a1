"""The leaderboard: measured methods, by data set and protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moevae.errors import RecordError
from studies.records import consensus, race, study_file
from studies.report import cache
from studies.report.leaderboard_entries import PATH, Baseline, Entries, Entry, RaceEntry, entries

if TYPE_CHECKING:
    from studies.analysis.runs import StudyRun
    from studies.analysis.study import Study
    from studies.records.consensus import ConsensusGroup

TEST, ALL = "test images", "all images"
"""What is scored: held-out test images, or training, validation and test images together."""
SCORES: Mapping[str, tuple[str, str]] = {
    TEST: ("test.acc", "test.nmi"),
    ALL: ("test.all_acc", "test.all_nmi"),
}
"""Keys of ACC and NMI of each protocol."""
TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
"""Data sets of the leaderboard, with their names."""


@dataclass(frozen=True)
class Row:
    """A method on a data set, scored by one protocol, with the mean and the 95 % interval over n runs."""

    data: str
    scored: str
    """`TEST` or `ALL`."""
    method: str
    baseline: bool
    study: str
    """Name of the study, or of the file of the race."""
    page: str
    """Its page, relative to the folder of results."""
    trained: int
    """Number of training images."""
    n: int
    acc: float
    acc_low: float | None
    """End of the 95 % interval of the mean (Student's t); None for a single run."""
    acc_high: float | None
    acc_lowest: float
    nmi: float
    nmi_low: float | None
    nmi_high: float | None
    nmi_lowest: float
    minutes: float | None
    """Training time of the median run in minutes of one core; None if it was trained on a GPU. That of a
    consensus is the training and evaluation of all of its runs."""
    clusters: str
    """The number of clusters, or the smallest and the largest, and whether it is given or found."""
    labels: str
    protocol: str = ""
    """What the method was given besides its default settings; empty for the runs of a study."""


def rows(results: Path, chosen: Entries | None = None, *, lenient: bool = False) -> list[Row]:
    """Return the rows of the studies that are there, by data set and protocol, the highest mean ACC first.

    A method that several studies fitted to equally many images has one row: that with the most runs.

    Args:
        results: the folder of the studies.
        chosen: the entries; None reads them from the file.
        lenient: whether to leave out studies and races that cannot be read, and entries without a cell.

    Raises:
        RecordError: an entry has no cell in its study, or a study or a race cannot be read.
    """
    found: dict[tuple[str, str, str, int], Row] = {}
    chosen = entries() if chosen is None else chosen
    notes: list[Entry | RaceEntry] = [*chosen.entry, *chosen.race]
    for entry in notes:
        own: list[Row] = []
        with suppress(RecordError) if lenient else nullcontext():
            if isinstance(entry, Entry):
                own = _rows(results / entry.study, entry, chosen.baseline)
            else:
                own = _of_race(results / entry.file, entry)
        for row in own:
            key = (row.data, row.scored, row.method, row.trained)
            if key not in found or found[key].n < row.n:
                found[key] = row
    order = [*TITLES]
    return sorted(
        found.values(), key=lambda row: (order.index(row.data), row.scored != TEST, -row.acc, row.method)
    )


def _rows(folder: Path, entry: Entry, baselines: Mapping[str, Baseline]) -> list[Row]:
    """Return the rows of an entry: as noted, if the inputs are the same."""
    if not study_file.is_study(folder):
        return []
    notes = json.dumps({name: baseline.model_dump() for name, baseline in sorted(baselines.items())})
    inputs, kind = cache.inputs(folder), f"leaderboard {entry.model_dump_json()} {notes}"
    noted = cache.recall(folder, kind, inputs)
    if noted is None:
        from studies.analysis.load import load_study  # takes a second to import

        noted = [asdict(row) for row in _made(load_study(folder), entry, baselines)]
        cache.note(folder, kind, inputs, noted)
    return [Row(**row) for row in noted]


def _made(study: Study, entry: Entry, baselines: Mapping[str, Baseline]) -> Iterable[Row]:
    agreed = consensus.read(study.folder)
    for data, part in study.by_data().items():
        if data not in TITLES:
            continue
        settings = {key: value for key, value in entry.cell.items() if key in part.axes}
        cells = [
            cell
            for cell in range(part.planned_cells)
            if all(part.value(cell, key) == value for key, value in settings.items())
        ]
        cell = part.reference if not settings else cells[0] if len(cells) == 1 else None
        if cell is None or settings.keys() != entry.cell.keys():
            raise RecordError(f"{PATH}: {entry.study}: {len(cells)} cells have these settings, expected one")
        runs = part.of_cell(cell)
        yield from _of(part, data, entry.method, runs, entry)
        members = {run.record.fingerprint for run in runs}
        if agreed and (groups := [each for each in agreed.groups if members.issuperset(each.members)]):
            yield _combined(part, data, entry, runs, groups)
        if entry.baselines:
            for other in part.baselines:
                if not any(run.record.method and run.record.method.oracle for run in other.runs):
                    yield from _of(part, data, other.name, other.runs, baselines.get(other.name, Baseline()))


def _of(
    study: Study, data: str, method: str, runs: Sequence[StudyRun], notes: Entry | Baseline
) -> Iterable[Row]:
    """Yield a row per protocol that the complete runs were scored by."""
    from studies.analysis.runs import median_minutes

    runs = [run for run in runs if run.complete]
    for scored, keys in SCORES.items():
        if not runs or not all(key in run.metrics for key in keys for run in runs):
            continue
        yield Row(
            data=data,
            scored=scored,
            method=method,
            baseline=isinstance(notes, Baseline),
            study=study.folder.name,
            page=f"{study.folder.name}/report.md",
            trained=runs[0].record.data.train,
            minutes=minutes[0] if (minutes := median_minutes(runs)) else None,
            clusters=_clusters(runs, notes),
            labels=notes.labels,
            **_scores([[run.metrics[key] for key in keys] for run in runs]),
        )


def _combined(
    study: Study, data: str, entry: Entry, runs: Sequence[StudyRun], groups: Sequence[ConsensusGroup]
) -> Row:
    """Return the row of the consensus of groups of runs, on the test images."""
    return Row(
        data=data,
        scored=TEST,
        method=f"{entry.method}, consensus of {len(groups[0].members)} runs",
        baseline=False,
        study=study.folder.name,
        page=f"{study.folder.name}/report.md",
        trained=runs[0].record.data.train,
        minutes=float(np.median([group.minutes for group in groups])),
        clusters=_clusters(runs, entry),
        labels=entry.labels,
        **_scores([[group.metrics["acc"], group.metrics["nmi"]] for group in groups]),
    )


def _of_race(path: Path, notes: RaceEntry) -> list[Row]:
    """Return a row for each method of other packages in a race, with the scores at the end of its runs."""
    if not path.is_file():
        return []
    found = race.read(path)
    if found.data.name not in TITLES:
        return []
    return [
        Row(
            data=found.data.name,
            scored=TEST,
            method=method,
            baseline=True,
            study=path.stem,
            page=notes.page,
            trained=found.data.train,
            minutes=float(
                np.median([run.seconds * found.origins[run.origin].hardware.threads / 60 for run in runs])
            ),
            clusters=f"{notes.number}, {notes.clusters}",
            labels=notes.labels,
            protocol=(
                f"{found.pretraining} epochs of pretraining, a budget of {found.budget / 60:.3g} minutes"
            ),
            **_scores([[run.end.acc, run.end.nmi] for run in runs]),
        )
        for method, runs in found.by_method().items()
        if not method.startswith(race.OWN)
    ]


def _scores(of_runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the columns of ACC and NMI, from the pair of each run."""
    from studies.statistics import stats

    values = np.array(of_runs)  # [n, 2]
    mean, (low, high) = stats.means(values), stats.intervals(values, ends=(0, 1))
    parts: dict[str, Any] = {"n": len(values)}
    for place, name in enumerate(("acc", "nmi")):
        ends = (None, None) if np.isnan(low[place]) else (float(low[place]), float(high[place]))
        parts |= {name: float(mean[place]), f"{name}_low": ends[0], f"{name}_high": ends[1]}
        parts[f"{name}_lowest"] = float(values[:, place].min())
    return parts


def _clusters(runs: Sequence[StudyRun], notes: Entry | Baseline) -> str:
    """Return the number of clusters of runs, such as `10, given` or `9 to 11, found`."""
    counts = sorted({len(run.record.load) for run in runs if run.complete})
    number = " to ".join(str(count) for count in sorted({counts[0], counts[-1]}))
    return f"{number}, {notes.clusters}"
