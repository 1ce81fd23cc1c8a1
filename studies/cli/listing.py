"""Which profiles can be run, and how far the studies in a results folder are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moevae.errors import ConfigError, MoevaeError
from studies.analysis.tallies import tally
from studies.design import design as designs
from studies.records import lock, schema, study_file


@dataclass(frozen=True)
class ProfileLine:
    """A profile that comes along."""

    name: str
    title: str
    cells: int
    seeds: int
    expected: str
    """Time and machine, or nothing."""


@dataclass(frozen=True)
class StudyLine:
    """A study that was started."""

    name: str
    folder: str
    title: str
    state: str
    """`complete`, `incomplete`, `running` or `broken`."""
    cells: int
    seeds: int
    baselines: int
    """Methods beside the cells, once for each data set."""
    runs: int
    """Planned, of cells and of baselines."""
    complete: int
    failed: int
    note: str = ""
    """Who runs it, or why it cannot be read."""


def profiles() -> list[ProfileLine]:
    """Return the profiles that come along, by name."""
    lines = []
    for name in designs.names():
        design = designs.load(name)
        expected = f"{design.expected.time} on {design.expected.machine}" if design.expected else ""
        lines.append(ProfileLine(name, design.title, len(design.cells), len(design.seeds), expected))
    return lines


def studies(results: Path) -> list[StudyLine]:
    """Return the studies in a results folder, by name; none where there is no such folder.

    Raises:
        ConfigError: there can be no studies in it.
    """
    if results.is_file():
        raise ConfigError(f"--results {results}: a file; right would be the folder that studies are in")
    if schema.is_study(results):
        raise ConfigError(f"--results {results}: a study itself; right would be {results.resolve().parent}")
    return [_study(folder) for folder in schema.studies_in(results)]


def _study(folder: Path) -> StudyLine:
    try:
        plan = study_file.read(folder)
        every, bad = schema.read_all(folder)
        found = tally(plan, every)
    except (MoevaeError, OSError) as error:
        return StudyLine(folder.name, str(folder), "", "broken", 0, 0, 0, 0, 0, 0, note=str(error))
    owner = lock.holder(folder)
    state = "running" if owner else "complete" if len(every) >= found.planned else "incomplete"
    note = owner.rstrip(",") if owner else f"{len(bad)} files refused" if bad else ""
    return StudyLine(
        name=folder.name,
        folder=str(folder),
        title=plan.title,
        state=state,
        cells=found.cells,
        seeds=found.seeds,
        baselines=found.baselines,
        runs=found.planned,
        complete=found.complete,
        failed=found.failed,
        note=note,
    )
