"""Section: commands that reproduce the study, its page and its runs."""

from __future__ import annotations

import functools
import json
import shlex
from typing import Any

from moevae.config import overrides
from moevae.config.registry import PRESETS
from studies.analysis import cell_stats
from studies.analysis.study import Study
from studies.report import markdown
from studies.report.page import FOLDED, Page
from studies.report.sections.study.setup import Tree


def reproduce(study: Study, page: Page) -> None:
    """Add the commands that reproduce the study, the page and one run of each cell."""
    page.head("Reproduce")
    steps = [(study.command, "the runs"), (f"nox -s report -- {shlex.quote(study.name)}", "this page")]
    width = max(len(typed) for typed, _ in steps)
    page.add(markdown.code([f"{typed:<{width}}  # {words}" for typed, words in steps if typed]))
    first = [runs[0] for cell in range(len(study.cells)) if (runs := study.of_cell(cell))]
    lines = [
        f"{command(run.record.config)}  # cell {cell_stats.label(study, run.cell)}" for run in first[:FOLDED]
    ]
    if lines:
        which = "each cell" if len(first) == len(lines) else f"each of the first {len(lines)} cells"
        page.fold(f"Commands for one run of {which}; change --seed for other seeds", markdown.code(lines))


def command(config: Tree) -> str:
    """Return the command that trains a configuration: the nearest preset and the changes to it."""
    wanted = dict(overrides.leaves(config))
    changes = {
        name: {key: value for key, value in wanted.items() if preset.get(key) != value and key != "seed"}
        for name, preset in _presets().items()
    }
    name = min(changes, key=lambda each: len(changes[each]))
    parts = ["python -m moevae train", f"--preset {name}", f"--seed {wanted['seed']}"]
    parts += [f"--set {shlex.quote(f'{key}={_value(value)}')}" for key, value in changes[name].items()]
    return " ".join(parts)


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    return {name: dict(overrides.leaves(overrides.to_dict(make()))) for name, make in PRESETS.items()}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
