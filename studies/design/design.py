"""The design of a study: its cells and seeds, made from a profile."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from moevae.config import objectives, overrides
from moevae.config.parsing import apply_settings, checked_seeds, parse_seeds, parse_settings
from moevae.config.presets import preset
from moevae.config.schema import DataConfig, RunConfig
from moevae.errors import ConfigError
from moevae.utils.io import at_home
from moevae.utils.suggest import closest_name
from studies.design.baselines import BASELINES, Chosen
from studies.design.profile import PROFILES, Expected, names, read_profile
from studies.records import study_file
from studies.records.schema import Method, name_of
from studies.records.study_file import MOST_CELLS
from studies.utils.formatting import short, show

OPTION = "--baselines"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 100
"""Maximum length of the name of a study: file systems allow 255 characters, and suffixes are added."""


@dataclass(frozen=True)
class Cell:
    """A configuration without a seed, and its value on each axis."""

    values: Mapping[str, Any]
    config: RunConfig
    """The configuration, with seed 0."""
    method: Method | None = None
    """The baseline that is fitted; None is the model."""

    @cached_property
    def key(self) -> str:
        """A unique key: the fingerprint of the run with seed 0."""
        return name_of(self.config, self.method)

    @cached_property
    def label(self) -> str:
        """The values of the cell as text, such as `routing.kind = hard, temperature = 2`."""
        return describe_settings(self.values)

    def run(self, seed: int) -> RunConfig:
        """Return the configuration of the cell with a seed."""
        return replace(self.config, seed=seed)

    def name(self, seed: int) -> str:
        """Return the fingerprint of the run of the cell with a seed."""
        return name_of(self.run(seed), self.method) if seed != self.config.seed else self.key


@dataclass(frozen=True)
class Design:
    """The cells, seeds and baselines of a study, and its name."""

    name: str
    title: str
    description: str
    base: RunConfig
    axes: Mapping[str, tuple[Any, ...]]
    baseline: Mapping[str, Any]
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
        """Return the design with other baselines."""
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
        reference = next(cell for cell in self.cells if cell.values == self.baseline)
        made = []
        for data in self.data:
            config = replace(reference.config, data=data)
            place = {key: overrides.lookup(config, key) for key in self.axes if key.startswith("data.")}
            for key in self.baselines.keys:
                method = BASELINES[key].method_for(reference.config, self.axes)
                made.append(Cell({"method": method.name, **place}, config, method))
        return tuple(made)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `study.json`."""
        more = {"baselines": self.baselines.keys, "left_out": self.baselines.left_out}
        return study_file.described(
            name=self.name,
            title=self.title,
            description=self.description,
            base=self.base,
            axes=self.axes,
            baseline=self.baseline,
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
    base = apply_settings(preset(written.preset), written.set, f"{path.name}: [set]")
    base = apply_settings(base, settings, "--set")
    axes = {key: [settings[key]] if key in settings else values for key, values in written.axes.items()}
    baseline = written.baseline | {key: settings[key] for key in axes if key in settings}
    _check_excluded(written.exclude, written.axes, path.name)
    cells, start = _cells(base, axes, baseline, written.design, path.name, written.exclude)
    if "objective" in settings:
        _check_objective(str(settings["objective"]), (*axes, *settings), cells)
    return Design(
        name=name,
        title=title,
        description=" ".join(written.description.split()),
        base=base,
        axes={
            key: tuple(
                hashable(_cell(base, {**start.values, key: value}, path.name).values[key]) for value in values
            )
            for key, values in axes.items()
        },
        baseline=start.values,
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


def describe_settings(values: Mapping[str, Any]) -> str:
    """Return settings as text, such as `routing.kind = hard, temperature = 2`."""
    names = short(values)
    return ", ".join(f"{names[key]} = {show(value, 10)}" for key, value in values.items())


def _path(profile: str) -> Path:
    if profile.endswith(".toml") or "/" in profile:
        return at_home(Path(profile))
    return PROFILES / f"{closest_name('profile', profile, names())}.toml"


def _cells(
    base: RunConfig,
    axes: Mapping[str, Sequence[Any]],
    baseline: Mapping[str, Any],
    kind: Literal["grid", "one-at-a-time"],
    where: str,
    excluded: Sequence[Mapping[str, Sequence[Any]]] = (),
) -> tuple[tuple[Cell, ...], Cell]:
    """Return all cells that are not excluded, and the reference cell."""
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"profile {where}: axis {key} has no values")
    for key in baseline:
        if key not in axes:
            raise ConfigError(f"profile {where}: baseline {key} is not an axis (axes: {', '.join(axes)})")
        if baseline[key] not in axes[key]:
            raise ConfigError(
                f"profile {where}: baseline {key} = {baseline[key]} is not on its axis {list(axes[key])}"
            )
    if (count := _count(axes, kind)) > MOST_CELLS:
        raise ConfigError(f"profile {where}: its axes give {count:,} cells; expected at most {MOST_CELLS:,}")
    usual = {key: plain(overrides.lookup(base, key)) for key in axes}
    start = {
        key: baseline.get(key, usual[key] if usual[key] in values else values[0])
        for key, values in axes.items()
    }
    if kind == "grid":
        points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    else:
        centers = [{**start, "data.name": name} for name in axes.get("data.name", ())] or [start]
        centers.sort(key=lambda center: center != start)
        points = [point for center in centers for point in _star(center, axes)]
    if _is_excluded(start, excluded):
        raise ConfigError(f"profile {where}: the reference cell is excluded: {describe_settings(start)}")
    cells: dict[RunConfig, Cell] = {}
    for point in points:
        if _is_excluded(point, excluded):
            continue
        cell = _cell(base, point, where)
        if cell.config in cells:
            raise ConfigError(f"profile {where}: two cells are the same: {cell.label}")
        cells[cell.config] = cell
    return tuple(cells.values()), _cell(base, start, where)


def _is_excluded(point: Mapping[str, Any], excluded: Sequence[Mapping[str, Sequence[Any]]]) -> bool:
    """Return whether a point has one of the listed levels on each axis of an entry."""
    return any(all(point[key] in levels for key, levels in entry.items()) for entry in excluded)


def _check_excluded(
    excluded: Sequence[Mapping[str, Sequence[Any]]], axes: Mapping[str, Sequence[Any]], where: str
) -> None:
    """Raise an error unless the entries name axes and their levels."""
    for entry in excluded:
        if not entry:
            raise ConfigError(f"profile {where}: an entry of [[exclude]] names no axis")
        for key, levels in entry.items():
            if key not in axes:
                raise ConfigError(f"profile {where}: exclude {key} is not an axis (axes: {', '.join(axes)})")
            for level in levels:
                if level not in axes[key]:
                    raise ConfigError(
                        f"profile {where}: exclude {key} = {level} is not on its axis {list(axes[key])}"
                    )


def _count(axes: Mapping[str, Sequence[Any]], kind: str) -> int:
    """Return the number of cells of the axes, without creating them."""
    if kind == "grid":
        return math.prod(map(len, axes.values()))
    others = sum(len(values) for key, values in axes.items() if key != "data.name")
    return len(axes.get("data.name", [None])) * (1 + others)


def _star(center: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return a point and all points that differ from it on one axis other than the data set."""
    others = {key: values for key, values in axes.items() if key != "data.name"}
    around = ({**center, key: value} for key, values in others.items() for value in values)
    return [dict(center), *(point for point in around if point != center)]


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


def _cell(base: RunConfig, values: Mapping[str, Any], where: str) -> Cell:
    config = apply_settings(base, values, f"profile {where}: {describe_settings(values)}")
    made = {key: plain(overrides.lookup(config, key)) for key in values}
    if "objective" in values and made["objective"] != values["objective"]:
        raise ConfigError(f"profile {where}: contradictory axes: no run can have {describe_settings(values)}")
    return Cell(made, config)


def checked_name(name: str) -> str:
    """Return the name of a study after checking that it is a valid name of a folder.

    Raises:
        ConfigError: the name is not valid.
    """
    if len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"study name {name[:20]!r}...: {len(name)} characters; expected at most {_LONGEST_NAME}"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(f"study name {name!r}: expected only letters, digits, '.', '_' and '-'")
    return name


def plain(value: Any) -> Any:
    """Return the value after a round trip through JSON, so that a design and its file agree."""
    return json.loads(json.dumps(value))


def hashable(value: Any) -> Any:
    """Return the value, with a list converted to a tuple."""
    return tuple(value) if isinstance(value, list) else value
