"""The built-in profiles, and the state of the studies in a results folder."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

from moevae.errors import MoevaeError
from studies.analysis.run_counts import count_runs
from studies.cli.folders import study_folders
from studies.cli.options import List
from studies.design import design as designs
from studies.design import profile as design_profile
from studies.records import lock, store, study_file
from studies.utils.formatting import count


@dataclass(frozen=True)
class ProfileLine:
    """A built-in profile."""

    name: str
    title: str
    cells: int
    seeds: int
    expected: str
    """Duration and machine; empty if unknown."""


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
    """Number of baselines, counted for each data set."""
    runs: int
    """Number of planned runs of cells and baselines."""
    complete: int
    failed: int
    note: str = ""
    """The driver that works on it, or the reason why it cannot be read."""


def profiles() -> list[ProfileLine]:
    """Return the built-in profiles, ordered by name."""
    lines = []
    for name in design_profile.names():
        design = designs.load_design(name)
        expected = f"{design.expected.time} on {design.expected.machine}" if design.expected else ""
        lines.append(ProfileLine(name, design.title, len(design.cells), len(design.seeds), expected))
    return lines


def studies(results: Path) -> list[StudyLine]:
    """Return the state of the studies in a results folder, by name.

    Args:
        results: the results folder.

    Raises:
        ConfigError: the path is a file or a study.
    """
    return [_study(folder) for folder in study_folders(results)]


def _study(folder: Path) -> StudyLine:
    try:
        plan = study_file.read(folder)
        every, bad = store.read_all(folder)
        found = count_runs(plan, every)
    except (MoevaeError, OSError) as error:
        return StudyLine(folder.name, str(folder), "", "broken", 0, 0, 0, 0, 0, 0, note=str(error))
    owner = lock.holder(folder)
    state = "running" if owner else "complete" if len(every) >= found.planned else "incomplete"
    note = owner.rstrip(",") if owner else f"{len(bad)} invalid files" if bad else ""
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


def list_all(options: List) -> int:
    """Print profiles and studies."""
    built_in, started = profiles(), studies(options.results)
    if options.json:
        tree = {
            "profiles": [asdict(line) for line in built_in],
            "studies": [asdict(line) for line in started],
        }
        print(json.dumps(tree, indent=1))
        return 0
    print("Profiles (run one with: moevae ablate --profile NAME)")
    for profile in built_in:
        time = f"; expect {profile.expected}" if profile.expected else ""
        print(_line(f"{profile.name}: {profile.title}", 2))
        print(_line(f"{size_in_words(profile.cells, profile.seeds)}{time}", 4))
    print(f"\nStudies in {options.results}" + ("" if started else ": none yet"))
    for study in started:
        failed = f", {study.failed} failed" if study.failed else ""
        note = f" ({study.note})" if study.note else ""
        done = f"{study.complete} of {study.runs} runs{failed}"
        size = f" ({size_in_words(study.cells, study.seeds, study.baselines)})" if study.runs else ""
        print(_line(f"{study.name}: {study.state}, {done}{size}{note}", 2))
    return 0


def size_in_words(cells: int, seeds: int, baselines: int = 0) -> str:
    """Return the size of a study as text, such as `12 cells x 5 seeds and 1 baseline`.

    Args:
        cells: number of cells.
        seeds: number of seeds.
        baselines: number of baselines.
    """
    extra = f" and {count(baselines, 'baseline')}" if baselines else ""
    return f"{count(cells, 'cell')} x {count(seeds, 'seed')}{extra}"


def _line(text: str, indent: int) -> str:
    """Wrap a text at the width of the terminal; further lines are indented by two more columns."""
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text, width, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_on_hyphens=False
    )
