"""Sections: title and setup."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from studies.analysis import cell_stats
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.report import markdown, tables
from studies.report.markdown import escape, prose
from studies.report.page import Page
from studies.report.sections.study import confounding
from studies.utils.formatting import count

Tree = Mapping[str, Any]


def title(study: Study, page: Page) -> None:
    """Add title and description, and a notice if runs are missing."""
    page.add(f"# {escape(study.title)}", prose(study.description))
    if study.partial:
        total = study.planned_cells * len(study.planned_seeds)
        others = len(study.missing_baselines)
        page.add(
            f"> **Partial.** {total - len(study.missing)} of {total} planned runs have ended"
            + (f", and {others} runs of baselines have not" if others else "")
            + ". This page covers only runs that have ended."
        )


def setup(study: Study, page: Page) -> None:
    """Add the setup: design, data, hardware, versions and commits."""
    complete = sum(run.complete for run in study.runs)
    others = [run for baseline in study.baselines for run in baseline.runs]
    made = [*study.runs, *others]
    sizes = [len(values) for values in study.axes.values()]
    crossed = math.prod(sizes) == len(study.cells) > max(sizes, default=1)
    grid = f" ({' × '.join(map(str, sizes))})" if crossed else ""
    names = tables.axis_names(study.axes)
    rows = [
        ("cells", f"{len(study.cells)}{grid}"),
        *((f"· {names[axis]}", f"{axis} = {', '.join(texts)}") for axis, texts in study.texts.items()),
        (
            "reference cell",
            "none" if study.reference is None else tables.describe_all(study, study.reference),
        ),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("runs", f"{complete} complete, {len(study.failed)} failed, {len(study.missing)} missing"),
        *([("runs of baselines", f"{sum(run.complete for run in others)} complete")] if others else []),
        ("data", _distinct(map(_data, made))),
        ("likelihood", _distinct(run.likelihood for run in study.runs)),
        ("hardware", _distinct(map(_hardware, made))),
        ("time", _time(made)),
        *(("energy", words) for words in _energy(study)),
        ("versions", _distinct(map(_versions, made))),
        ("commit", _distinct(map(_commit, made))),
    ]
    page.head("Setup")
    shown = f"{study.name} "  # no other column has that name, whatever the study is called
    page.add(markdown.table([{"study": key, shown: value} for key, value in rows]))
    confounding.origins(study, page)


def cell_text(study: Study, cell: int) -> str:
    """Return the number and the settings of a cell as text.

    Args:
        study: the study.
        cell: index of the cell.
    """
    return f"{cell_stats.label(study, cell)} ({tables.describe(study, cell)})"


def _data(run: StudyRun) -> str:
    data = run.record.data
    sizes = f"{data.train:,} train, {data.validation:,} validation, {data.test:,} test"
    labels = "none" if "labels_sha256" in data.model_fields_set else "not recorded"
    digests = f"sha256 {data.sha256[:16]}, labels {(data.labels_sha256 or labels)[:16]}"
    return f"{data.name}: {sizes}, {digests}"


def _hardware(run: StudyRun) -> str:
    hardware = run.record.hardware
    processor = f"{count(hardware.threads, 'thread')}, {count(hardware.cores, 'core')}"
    return (
        f"{hardware.device_name} ({hardware.device}, {run.record.precision}, {processor}, "
        f"{hardware.memory_gib:.0f} GiB)"
    )


def _versions(run: StudyRun) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(run.record.versions.items()))


def _commit(run: StudyRun) -> str:
    commit = run.record.commit
    return (
        "unknown" if commit is None else f"{commit[:12]}{' (with local changes)' if run.record.dirty else ''}"
    )


def _time(runs: Iterable[StudyRun]) -> str:
    """Return the total time; the seconds of a run are those of its population."""
    total = sum(
        (run.record.seconds.train + run.record.seconds.evaluation) / run.record.throughput.population
        for run in runs
        if run.record.seconds and run.record.throughput
    )
    return f"{total:,.0f} s of training and evaluation over all runs"


def _energy(study: Study) -> list[str]:
    """Return the total energy of populations whose devices report it."""
    reported = [run.record for run in study.runs if run.record.energy_joules is not None]
    if not reported:
        return []
    total = sum(
        (record.energy_joules or 0) / record.throughput.population for record in reported if record.throughput
    )
    return [f"{total / 1000:,.1f} kJ of training over {len(reported)} runs, as reported by the device"]


def _distinct(values: Iterable[str]) -> str:
    """Return the distinct values, most frequent first, with the count where there are several."""
    found = Counter(values)
    if len(found) < 2:
        return "".join(found) or "–"
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{value} ({count(number, 'run')})" for value, number in ordered)
