"""The cells of a study: points of its axes, each a configuration without a seed."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from moevae.config import overrides
from moevae.config.parsing import apply_settings
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from studies.records.schema import Method, name_of
from studies.records.study_file import MAX_CELLS
from studies.utils.formatting import short, show

ONE_DATA_SET = ("data.image_size", "data.bad_images")
"""Settings that change the images of a data set; a study has one version of each data set."""


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
        """Return the fingerprint of the run of the cell with a seed.

        Args:
            seed: the seed.
        """
        return name_of(self.run(seed), self.method) if seed != self.config.seed else self.key


def describe_settings(values: Mapping[str, Any]) -> str:
    """Return settings as text, such as `routing.kind = hard, temperature = 2`.

    Args:
        values: values by setting.
    """
    names = short(values)
    return ", ".join(f"{names[key]} = {show(value, 10)}" for key, value in values.items())


def make_cells(
    base: RunConfig,
    axes: Mapping[str, Sequence[Any]],
    reference: Mapping[str, Any],
    kind: Literal["grid", "one-at-a-time", "listed"],
    where: str,
    excluded: Sequence[Mapping[str, Sequence[Any]]] = (),
    listed: Sequence[Mapping[str, Any]] = (),
) -> tuple[tuple[Cell, ...], Cell]:
    """Return all cells that are not excluded, and the reference cell.

    Args:
        base: configuration of the settings that no axis varies.
        axes: values by setting.
        reference: values of the reference cell; an axis without one uses that of `base`, or its first value.
        kind: all combinations of values; the reference cell and its changes on one axis at a time; or the
            reference cell alone.
        where: name of the profile, for messages.
        excluded: levels by axis, see `check_levels`.
        listed: further cells, by their values on all axes.

    Raises:
        ConfigError: an axis is empty or changes the images of a data set, there are too many cells, two are
            the same, or the reference cell is excluded or not on the axes.
    """
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"profile {where}: axis {key} has no values")
    for key in ONE_DATA_SET:
        if len(axes.get(key, ())) > 1:
            raise ConfigError(
                f"profile {where}: {key} cannot be an axis, since it changes the images: use [set]"
            )
    for key in reference:
        if key not in axes:
            raise ConfigError(f"profile {where}: reference {key} is not an axis (axes: {', '.join(axes)})")
        if reference[key] not in axes[key]:
            raise ConfigError(
                f"profile {where}: reference {key} = {reference[key]} is not on its axis {list(axes[key])}"
            )
    if (count := _count(axes, kind) + len(listed)) > MAX_CELLS:
        raise ConfigError(f"profile {where}: its axes give {count:,} cells; expected at most {MAX_CELLS:,}")
    start = reference_point(base, axes, reference)
    if kind == "grid":
        points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    elif kind == "listed":
        points = [start]
    else:
        centers = [{**start, "data.name": name} for name in axes.get("data.name", ())] or [start]
        centers.sort(key=lambda center: center != start)
        points = [point for center in centers for point in _star(center, axes)]
    for point in listed:
        if point not in points:
            points.append(dict(point))
    if _is_excluded(start, excluded):
        raise ConfigError(f"profile {where}: the reference cell is excluded: {describe_settings(start)}")
    cells: dict[RunConfig, Cell] = {}
    for point in points:
        if _is_excluded(point, excluded):
            continue
        cell = make_cell(base, point, where)
        if cell.config in cells:
            raise ConfigError(f"profile {where}: two cells are the same: {cell.label}")
        cells[cell.config] = cell
    return tuple(cells.values()), make_cell(base, start, where)


def reference_point(
    base: RunConfig, axes: Mapping[str, Sequence[Any]], reference: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of the reference cell on all axes.

    Args:
        base: configuration of the settings that no axis varies.
        axes: values by setting.
        reference: values of some axes; others have that of `base` if it is on the axis, or the first value.
    """
    usual = {key: plain(overrides.lookup(base, key)) for key in axes}
    return {
        key: reference.get(key, usual[key] if usual[key] in values else next(iter(values), None))
        for key, values in axes.items()
    }


def narrowed(
    points: Sequence[Mapping[str, Any]], axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the points that settings leave: those with a level that is set, or all of them with a new value.

    Args:
        points: values on all axes.
        axes: values by setting, before the settings.
        settings: values by setting.
    """
    levels = {key: value for key, value in settings.items() if key in axes and value in axes[key]}
    new = {key: value for key, value in settings.items() if key in axes and key not in levels}
    return [{**point, **new} for point in points if all(point[key] == value for key, value in levels.items())]


def make_cell(base: RunConfig, values: Mapping[str, Any], where: str) -> Cell:
    """Return the cell with the given settings.

    Args:
        base: configuration of the other settings.
        values: values by setting.
        where: name of the profile, for messages.

    Raises:
        ConfigError: a setting is invalid, or the values contradict each other.
    """
    config = apply_settings(base, values, f"profile {where}: {describe_settings(values)}")
    made = {key: plain(overrides.lookup(config, key)) for key in values}
    if "objective" in values and made["objective"] != values["objective"]:
        raise ConfigError(f"profile {where}: contradictory axes: no run can have {describe_settings(values)}")
    return Cell(made, config)


def check_levels(
    section: str,
    entries: Sequence[Mapping[str, Sequence[Any]]],
    axes: Mapping[str, Sequence[Any]],
    where: str,
) -> None:
    """Check that the entries of a section name axes and their levels.

    Args:
        section: `exclude`, whose entries exclude combinations of levels, or `cell`.
        entries: levels by axis.
        axes: values by setting.
        where: name of the profile, for messages.

    Raises:
        ConfigError: an entry names no axis, an unknown one, or a level that is not on its axis.
    """
    for entry in entries:
        if not entry:
            raise ConfigError(f"profile {where}: an entry of [[{section}]] names no axis")
        for key, levels in entry.items():
            if key not in axes:
                raise ConfigError(
                    f"profile {where}: {section} {key} is not an axis (axes: {', '.join(axes)})"
                )
            for level in levels:
                if level not in axes[key]:
                    raise ConfigError(
                        f"profile {where}: {section} {key} = {level} is not on its axis {list(axes[key])}"
                    )


def _is_excluded(point: Mapping[str, Any], excluded: Sequence[Mapping[str, Sequence[Any]]]) -> bool:
    """Return whether a point has one of the listed levels on each axis of an entry."""
    return any(all(point[key] in levels for key, levels in entry.items()) for entry in excluded)


def _count(axes: Mapping[str, Sequence[Any]], kind: str) -> int:
    """Return the number of cells of the axes, without creating them."""
    if kind == "grid":
        return math.prod(map(len, axes.values()))
    if kind == "listed":
        return 1
    others = sum(len(values) for key, values in axes.items() if key != "data.name")
    return len(axes.get("data.name", [None])) * (1 + others)


def _star(center: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return a point and all points that differ from it on one axis other than the data set."""
    others = {key: values for key, values in axes.items() if key != "data.name"}
    around = ({**center, key: value} for key, values in others.items() for value in values)
    return [dict(center), *(point for point in around if point != center)]


def plain(value: Any) -> Any:
    """Return the value after a round trip through JSON, so that a design and its file agree."""
    return json.loads(json.dumps(value))


def hashable(value: Any) -> Any:
    """Return the value, with a list converted to a tuple."""
    return tuple(value) if isinstance(value, list) else value
