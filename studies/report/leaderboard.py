"""The leaderboard: measured methods, by data set and protocol, and separately literature values."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, ConfigDict

from moevae.errors import RecordError
from moevae.utils import content
from studies.records import study_file
from studies.report import cache, literature
from studies.report.markdown import prose

if TYPE_CHECKING:
    from studies.analysis.runs import StudyRun
    from studies.analysis.study import Study

PATH = Path(__file__).with_suffix(".toml")

TEST, ALL = "test images", "all images"
"""What is scored: held-out test images, or training, validation and test images together."""
SCORES: Mapping[str, tuple[str, str]] = {
    TEST: ("test.acc", "test.nmi"),
    ALL: ("test.all_acc", "test.all_nmi"),
}
"""Keys of ACC and NMI of each protocol."""
TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
"""Data sets of the leaderboard, with their names."""


class Entry(BaseModel):
    """A cell of a study, with information that records do not contain; the file describes the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    method: str
    cell: dict[str, Any] = {}
    clusters: Literal["given", "found"]
    labels: Literal["none", "held-out training images", "training images", "test images"]
    baselines: bool = False


class _Entries(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: tuple[Entry, ...]


@dataclass(frozen=True)
class Row:
    """A method on a data set, scored by one protocol, with the mean and the 95 % interval over n runs."""

    data: str
    scored: str
    """`TEST` or `ALL`."""
    method: str
    baseline: bool
    study: str
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
    """Training time of the median run in minutes of one core; None if it was trained on a GPU."""
    clusters: int
    clusters_are: str
    labels: str


def entries(path: Path = PATH) -> tuple[Entry, ...]:
    """Return the entries of the file.

    Raises:
        RecordError: the file is invalid.
    """
    with content.parsing(f"{path}: cannot be read", RecordError):
        return _Entries.model_validate(tomllib.loads(content.read(path).decode())).entry


def rows(results: Path, chosen: Sequence[Entry] | None = None, *, lenient: bool = False) -> list[Row]:
    """Return the rows of the studies that are there, by data set and protocol, the highest mean ACC first.

    A method that several studies fitted to equally many images has one row: that with the most runs.

    Args:
        results: the folder of the studies.
        chosen: the entries; None reads them from the file.
        lenient: whether to leave out studies that cannot be read or have no such cell.

    Raises:
        RecordError: an entry has no cell in its study, or a study cannot be read.
    """
    found: dict[tuple[str, str, str, int], Row] = {}
    for entry in entries() if chosen is None else chosen:
        own: list[Row] = []
        with suppress(RecordError) if lenient else nullcontext():
            own = _rows(results / entry.study, entry)
        for row in own:
            key = (row.data, row.scored, row.method, row.trained)
            if key not in found or found[key].n < row.n:
                found[key] = row
    order = [*TITLES]
    return sorted(
        found.values(), key=lambda row: (order.index(row.data), row.scored != TEST, -row.acc, row.method)
    )


def markdown(found: Sequence[Row], depth: int = 2) -> str:
    """Return the leaderboard as Markdown: a part per data set, with literature values apart.

    Args:
        found: the result of `rows`.
        depth: level of its heading.
    """
    blocks = [f"{'#' * depth} Leaderboard", INTRODUCTION]
    for data in [name for name in TITLES if any(row.data == name for row in found)]:
        blocks.append(f"{'#' * (depth + 1)} {TITLES[data]}")
        for scored in SCORES:
            if some := [row for row in found if (row.data, row.scored) == (data, scored)]:
                blocks += [f"**Measured here, scored on {scored}**", _table(some)]
        published = [row for row in literature.published().clustering if row.data == data]
        blocks += ["**Literature values, not reproduced**", literature.table_of(published)]
    return "\n\n".join(blocks)


INTRODUCTION = (
    "One row per method: mean ACC and NMI over n runs with their 95 % intervals (Student's t), and the "
    "lowest run. Every run counts; none is restarted or selected. Training uses no labels; the column "
    "*labels chose* says which labels selected settings. *Minutes* are the training time of the median run "
    "on one CPU core. *Clusters* is their number: given (the number of classes), or found by training. Rows "
    "in italics are other methods, fitted here to the same images. Literature values have their own code, "
    "splits and seeds, and are not comparable row by row; ACC is one-to-one (Hungarian), purity many-to-one "
    "and higher."
)


def _table(some: Sequence[Row]) -> str:
    lines = ["| method | trained on | n | ACC | lowest | NMI | lowest | minutes | clusters | labels chose |"]
    lines.append("|:--|--:|--:|:--|--:|:--|--:|--:|:--|:--|")
    for row in some:
        name = f"*{prose(row.method)}*" if row.baseline else prose(row.method)
        cells = [
            f"[{name}]({quote(row.study)}/report.md)",
            f"{row.trained:,}",
            str(row.n),
            interval(row.acc, row.acc_low, row.acc_high),
            share(row.acc_lowest),
            interval(row.nmi, row.nmi_low, row.nmi_high),
            share(row.nmi_lowest),
            "GPU" if row.minutes is None else minutes(row.minutes),
            f"{row.clusters}, {row.clusters_are}",
            row.labels,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def share(value: float) -> str:
    """Return a score with three decimals and without the leading zero, as the literature prints it."""
    return f"{value:.3f}".removeprefix("0")


def minutes(value: float) -> str:
    """Return minutes, with one decimal below ten."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def interval(mean: float, low: float | None, high: float | None) -> str:
    """Return a mean with its interval, if it has one."""
    return share(mean) if low is None or high is None else f"{share(mean)} [{share(low)}, {share(high)}]"


def _rows(folder: Path, entry: Entry) -> list[Row]:
    """Return the rows of an entry: as noted, if the inputs are the same."""
    if not study_file.is_study(folder):
        return []
    inputs, kind = cache.inputs(folder), f"leaderboard {entry.model_dump_json()}"
    noted = cache.recall(folder, kind, inputs)
    if noted is None:
        from studies.analysis.load import load_study  # takes a second to import

        noted = [asdict(row) for row in _made(load_study(folder), entry)]
        cache.note(folder, kind, inputs, noted)
    return [Row(**row) for row in noted]


def _made(study: Study, entry: Entry) -> Iterable[Row]:
    for data, part in study.by_data().items():
        if data not in TITLES:
            continue
        settings = {key: value for key, value in entry.cell.items() if key in part.axes}
        cells = [
            cell
            for cell in range(part.planned_cells)
            if all(part.value(cell, key) == value for key, value in settings.items())
        ]
        cell = part.baseline if not settings else cells[0] if len(cells) == 1 else None
        if cell is None or settings.keys() != entry.cell.keys():
            raise RecordError(f"{PATH}: {entry.study}: {len(cells)} cells have these settings, expected one")
        yield from _of(part, data, entry.method, part.of_cell(cell), entry)
        if entry.baselines:
            for peer in part.peers:
                if not any(run.record.method and run.record.method.oracle for run in peer.runs):
                    yield from _of(part, data, peer.name, peer.runs, None)


def _of(study: Study, data: str, method: str, runs: Sequence[StudyRun], entry: Entry | None) -> Iterable[Row]:
    """Yield a row per protocol that the complete runs were scored by."""
    from studies.statistics import stats

    runs = [run for run in runs if run.complete]
    for scored, keys in SCORES.items():
        if not runs or not all(key in run.metrics for key in keys for run in runs):
            continue
        values = np.array([[run.metrics[key] for key in keys] for run in runs])  # [n, 2]
        mean, (low, high) = stats.means(values), stats.intervals(values, ends=(0, 1))
        parts: dict[str, Any] = {}
        for place, name in enumerate(("acc", "nmi")):
            ends = (None, None) if np.isnan(low[place]) else (float(low[place]), float(high[place]))
            parts |= {name: float(mean[place]), f"{name}_low": ends[0], f"{name}_high": ends[1]}
            parts[f"{name}_lowest"] = float(values[:, place].min())
        yield Row(
            data=data,
            scored=scored,
            method=method,
            baseline=entry is None,
            study=study.folder.name,
            trained=runs[0].record.data.train,
            n=len(runs),
            minutes=_minutes(runs),
            clusters=len(runs[0].record.load),
            clusters_are="given" if entry is None else entry.clusters,
            labels="none" if entry is None else entry.labels,
            **parts,
        )


def _minutes(runs: Sequence[StudyRun]) -> float | None:
    """Return the training time of the median run in minutes of a core; None if some run used a GPU.

    That of a mixture is its images divided by the speed of its population; the clock of a resumed run would
    start when it was resumed.
    """
    times = []
    for run in runs:
        record = run.record
        if record.hardware.device != "cpu" or record.throughput is None or record.seconds is None:
            return None
        seconds = record.seconds.train
        if record.method is None:
            looks = record.data.train * record.config["train"]["epochs"]
            seconds = looks / record.throughput.train_images_per_second
        times.append(seconds * record.hardware.threads / 60)
    return float(np.median(times))
