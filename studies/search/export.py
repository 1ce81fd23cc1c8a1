"""Export of a trial as a profile that `ablate` runs with new seeds."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from moevae.config import overrides
from moevae.config.registry import PRESETS
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.utils.io import write_atomically
from studies.design.cells import Cell
from studies.search.objectives import ORACLE
from studies.search.search import Search

SEEDS = 20
"""Number of seeds of the profile. The seeds of the search selected the trial, so they are not reused."""

_HEAD = "# A search wrote this file, and replaces it unless it is edited: "
"""The beginning of such a profile; the digest of its other lines follows."""

_SETTINGS = sorted({*overrides.keys()} - {"seed"})


def write_profile(path: Path, search: Search, cell: Cell, trial: int) -> None:
    """Write the cell of a trial as a profile of one cell, without the settings of its preset.

    Args:
        path: the TOML file.
        search: the search.
        cell: cell of the trial.
        trial: number of the trial.

    Raises:
        ConfigError: a setting cannot be written as TOML, or the file is not as a search wrote it.
    """
    check_replaceable(path)
    name, settings = _nearest_preset(cell.config)
    mark = f", an {ORACLE} choice made with labels" if search.oracle else ""
    chosen = f"{search.rule}: {' and '.join(objective.heading for objective in search.objectives)}{mark}"
    left = {key: value for key, value in settings.items() if key not in cell.values}
    for key, value in left.items():
        if value is None:
            raise ConfigError(f"--write-profile {path}: {key} = null differs from {name}: TOML has no null")
    tree = {
        "name": f"{search.name}-trial-{trial}",
        "title": f"Trial {trial} of {search.name}, with other seeds",
        "description": f"Trial {trial} of the search {search.name}, chosen by {chosen}.",
        "preset": name,
        # New seeds: results on the seeds of the search are optimistic.
        "seeds": [seed for seed in range(SEEDS + len(search.seeds)) if seed not in search.seeds][:SEEDS],
        "set": left,
        "axes": {key: [value] for key, value in cell.values.items()},
        "reference": dict(cell.values),
    }
    text = tomli_w.dumps(tree)
    write_atomically(path, f"{_head(text)}{text}".encode())


def check_replaceable(path: Path) -> None:
    """Check that a file is absent, or a profile as a search wrote it.

    Args:
        path: where a profile would be written.

    Raises:
        ConfigError: it is another file, or was edited.
    """
    if not os.path.lexists(path):
        return
    with suppress(OSError, ValueError):
        head, text = path.read_text(encoding="utf-8").split("\n", 1)
        if f"{head}\n" == _head(text):
            return
    raise ConfigError(f"--write-profile {path}: already exists, and is not as a search wrote it")


def _head(text: str) -> str:
    return f"{_HEAD}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n"


def _nearest_preset(config: RunConfig) -> tuple[str, dict[str, Any]]:
    """Return the preset that is most similar to a configuration, and the differences."""
    differences = {name: _difference(config, make()) for name, make in PRESETS.items()}
    name = min(differences, key=lambda name: len(differences[name]))
    return name, differences[name]


def _difference(config: RunConfig, other: RunConfig) -> dict[str, Any]:
    pairs = {key: (overrides.lookup(config, key), overrides.lookup(other, key)) for key in _SETTINGS}
    return {key: here for key, (here, there) in pairs.items() if here != there}
