"""Which profiles can be run, and how far the studies in a results folder are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moevae.errors import ConfigError, MoevaeError
from studies import designs, locks, records


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
    runs: int
    """Planned."""
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
    if records.is_study(results):
        raise ConfigError(f"--results {results}: a study itself; right would be {results.resolve().parent}")
    return [_study(folder) for folder in records.studies_in(results)]


def _study(folder: Path) -> StudyLine:
    try:
        tree = records.study_of(folder)
        every, bad = records.read_all(folder)
        good = [record for record in every if record.method is None]
        planned = len(tree["cells"]) * len(tree["seeds"])
    except (MoevaeError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return StudyLine(folder.name, str(folder), "", "broken", 0, 0, 0, note=f"study.json: {error}")
    complete = sum(record.status == "complete" for record in good)
    owner = locks.holder(folder)
    state = "running" if owner else "complete" if len(good) >= planned else "incomplete"
    note = owner.rstrip(",") if owner else f"{len(bad)} files refused" if bad else ""
    failed = len(good) - complete
    return StudyLine(folder.name, str(folder), tree["title"], state, planned, complete, failed, note)
