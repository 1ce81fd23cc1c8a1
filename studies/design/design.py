"""The design of a study: its cells and seeds, made from a profile."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from moevae.config import objectives, overrides
from moevae.config.parsing import apply_settings, checked_seeds, parse_seeds, parse_settings
from moevae.config.presets import preset
from moevae.config.schema import DataConfig, RunConfig
from moevae.errors import ConfigError
from moevae.utils.io import expand_home
from moevae.utils.suggest import closest_name
from studies.design.baselines import BASELINES, Chosen, of_method
from studies.design.cells import (
    Cell,
    check_levels,
    describe_settings,
    hashable,
    make_cell,
    make_cells,
    narrowed,
    reference_point,
)
from studies.design.profile import PROFILES, Expected, names, read_profile
from studies.records import study_file
from studies.utils.formatting import show

OPTION = "--baselines"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_NAME_LENGTH = 100
"""Maximum length of the name of a study: file systems allow 255 characters, and suffixes are added."""


@dataclass(frozen=True)
class Design:
    """The cells, seeds and baselines of a study, and its name."""

    name: str
    title: str
    description: str
    base: RunConfig
    axes: Mapping[str, tuple[Any, ...]]
    reference: Mapping[str, Any]
    """The reference cell, by setting."""
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    expected: Expected | None
    invocation: tuple[str, ...]
    """Arguments of `ablate` that define this design, without the seeds."""
    profile_seeds: tuple[int, ...]
    """The seeds of the profile."""
    baselines: Chosen = field(default_factory=Chosen)
    """The baselines, fitted to the same data with the same seeds as the cells."""

    @property
    def command(self) -> str:
        """The command that runs this study."""
        seeds = () if self.seeds == self.profile_seeds else ("--seeds", seeds_as_text(self.seeds))
        return f"nox -s ablations -- {shlex.join((*self.invocation, *seeds))}"

    def with_seeds(self, seeds: Iterable[int]) -> Design:
        """Return the design with other seeds."""
        return replace(self, seeds=tuple(seeds))

    def with_baselines(self, baselines: Chosen) -> Design:
        """Return the design with other baselines, also in its command.

        Args:
            baselines: the baselines.
        """
        kept = list(self.invocation)
        if OPTION in kept:
            place = kept.index(OPTION)
            del kept[place : place + 2]
        asked = (OPTION, ",".join(baselines.keys)) if baselines.keys else ()
        return replace(self, baselines=baselines, invocation=(*kept, *asked))

    @property
    def data(self) -> tuple[DataConfig, ...]:
        """The data sets of the cells."""
        return tuple(dict.fromkeys(cell.config.data for cell in self.cells))

    @cached_property
    def baseline_cells(self) -> tuple[Cell, ...]:
        """A cell for each baseline on each data set, with the other settings of the reference cell."""
        reference = next(cell for cell in self.cells if cell.values == self.reference)
        made = []
        for data in self.data:
            config = replace(reference.config, data=data)
            place = {key: overrides.lookup(config, key) for key in self.axes if key.startswith("data.")}
            for key in self.baselines.keys:
                method = BASELINES[key].method_for(reference.config, self.axes)
                made.append(Cell({"method": method.name, **place}, config, method))
        return tuple(made)

    def seeds_of(self, cell: Cell, recorded: Collection[int] = ()) -> tuple[int, ...]:
        """Return the seeds of a cell or of a baseline.

        Args:
            cell: one of `cells` or of `baseline_cells`.
            recorded: seeds of the cell that have a record.
        """
        return self.seeds if cell.method is None else of_method(cell.method).seeds_of(self.seeds, recorded)

    @property
    def num_runs(self) -> int:
        """Number of runs of cells and baselines."""
        return sum(len(self.seeds_of(cell)) for cell in (*self.cells, *self.baseline_cells))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `study.json`."""
        more = {"baselines": self.baselines.keys, "left_out": self.baselines.left_out}
        return study_file.described(
            name=self.name,
            title=self.title,
            description=self.description,
            base=self.base,
            axes=self.axes,
            baseline=self.reference,
            cells=(cell.values for cell in self.cells),
            seeds=self.seeds,
            command=self.command,
            **(more if any(more.values()) else {}),
        )


def load_design(
    profile: str, *, seeds: str | None = None, changes: Sequence[str] = (), name: str | None = None
) -> Design:
    """Return the design of a profile.

    Args:
        profile: the name of a built-in profile, or the path of a TOML file.
        seeds: a count such as "5", or a list such as "0,3,7"; None uses the seeds of the profile.
        changes: settings such as "train.epochs=5", which override the profile. A setting of an axis reduces
            the axis to its value.
        name: name of the study; None uses the name of the profile, followed by a hash of the changes, if any.

    Raises:
        ConfigError: the profile or an option is invalid; the message names the file or the option.
    """
    path = _path(profile)
    written = read_profile(path)
    own = checked_seeds(written.seeds, f"{path.name}: seeds")
    settings = parse_settings(changes)
    invocation = ["--profile", profile, *itertools.chain(*(("--set", text) for text in changes))]
    title = written.title
    if settings:
        title = f"{title} ({describe_settings(settings)})"
    if name is not None:
        invocation += ["--name", name]
    elif settings:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
        name = f"{written.name}-{digest}"
    name = checked_name(written.name if name is None else name)
    plain_base = apply_settings(preset(written.preset), written.set, f"{path.name}: [set]")
    base = apply_settings(plain_base, settings, "--set")
    axes = {key: [settings[key]] if key in settings else values for key, values in written.axes.items()}
    reference = written.reference | {key: settings[key] for key in axes if key in settings}
    varied = any(len(values) > 1 for values in written.axes.values())
    if written.design == "listed" and varied and not written.cell:
        raise ConfigError(f"profile {path.name}: design = listed has no [[cell]]; expected one or more")
    check_levels("exclude", written.exclude, written.axes, path.name)
    levels = [{key: [value] for key, value in each.items()} for each in written.cell]
    check_levels("cell", levels, written.axes, path.name)
    whole = reference_point(plain_base, written.axes, written.reference)
    listed = narrowed([{**whole, **each} for each in written.cell], written.axes, settings)
    if written.design == "listed" and not narrowed([whole], written.axes, settings):
        if not listed:
            raise ConfigError(f"--set {describe_settings(settings)}: no cell of profile {path.name} has it")
        reference = listed[0]
    cells, start = make_cells(base, axes, reference, written.design, path.name, written.exclude, listed)
    if "objective" in settings:
        _check_objective(str(settings["objective"]), (*axes, *settings), cells)
    normalized = {
        key: [make_cell(base, {**start.values, key: value}, path.name).values[key] for value in values]
        for key, values in axes.items()
    }
    return Design(
        name=name,
        title=title,
        description=" ".join(written.description.split()),
        base=base,
        axes={key: _levels_of(cells, key, values) for key, values in normalized.items()},
        reference=start.values,
        cells=cells,
        seeds=own if seeds is None else parse_seeds(seeds),
        expected=None if settings else written.expected,
        invocation=tuple(invocation),
        profile_seeds=own,
    )


def seeds_as_text(seeds: Sequence[int]) -> str:
    """Return the shortest text that `parse_seeds` converts to these seeds."""
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(str(seed) for seed in seeds) + ("," if len(seeds) == 1 else "")


def _path(profile: str) -> Path:
    if profile.endswith(".toml") or "/" in profile:
        return expand_home(Path(profile))
    return PROFILES / f"{closest_name('profile', profile, names())}.toml"


def _levels_of(cells: Sequence[Cell], key: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values of an axis that some cell has: settings and exclusions can leave others without."""
    return tuple(hashable(value) for value in values if any(cell.values[key] == value for cell in cells))


def _check_objective(asked: str, keys: Iterable[str], cells: Sequence[Cell]) -> None:
    """Raise an error if other settings change the requested objective into another member."""
    others = sum(overrides.lookup(cell.config, "objective") != asked for cell in cells)
    if not others:
        return
    own = overrides.override(RunConfig(), {"objective": asked})
    parts = (
        f"{key}={show(overrides.lookup(own, key))}"
        for key in dict.fromkeys(keys)
        if objectives.is_of_member(key)
    )
    raise ConfigError(
        f"--set objective={asked}: other settings change this objective in {others} of {len(cells)} cells; "
        f"expected {' '.join(f'--set {part}' for part in parts)}"
    )


def checked_name(name: str) -> str:
    """Return the name of a study after checking that it is a valid name of a folder.

    Args:
        name: the name.

    Raises:
        ConfigError: the name is not valid.
    """
    if len(name) > _MAX_NAME_LENGTH:
        raise ConfigError(
            f"study name {name[:20]!r}...: {len(name)} characters; expected at most {_MAX_NAME_LENGTH}"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(f"study name {name!r}: expected only letters, digits, '.', '_' and '-'")
    return name
