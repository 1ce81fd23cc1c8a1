"""The schema of `study.json`, the description of a study."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StrictBool, StrictInt, model_validator

from moevae.config import migration, overrides
from moevae.config.parsing import apply_settings, check_key, checked_seeds
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError, RecordError
from moevae.utils import content
from moevae.utils.io import write_atomically

NAME = "study.json"
SCHEMA = 2
"""Version of the schema of `study.json`."""

MAX_CELLS = 100_000
"""Maximum number of cells."""
MAX_RUNS = 1_000_000
"""Maximum number of planned runs (cells times seeds); a larger plan is treated as a mistake."""

Scalar = StrictBool | StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)] | str | None
Value = Scalar | list[Scalar]
"""Value of a setting in JSON."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SearchPart(_Part):
    """The definition of a search."""

    space: dict[str, str]
    """Distributions in Optuna's JSON format, by setting."""
    objectives: list[str] = Field(min_length=1)
    rule: str = ""
    oracle: StrictBool = False
    """Whether an objective uses labels."""


class StudyFile(_Part):
    """The content of `study.json`."""

    schema_version: Literal[2] = Field(alias="schema")
    name: str = Field(min_length=1)
    title: str = ""
    description: str = ""
    base: dict[str, Any]
    axes: dict[str, list[Value]]
    baseline: dict[str, Value] | None = None
    cells: list[dict[str, Value]] = Field(max_length=MAX_CELLS)
    seeds: list[StrictInt]
    command: str = ""
    baselines: list[str] = []
    """Keys of the baselines."""
    identity: str = ""
    """Unique identity of the study in a shared storage; empty for early studies."""
    left_out: list[str] = []
    """Reasons why other baselines are left out, one sentence each."""
    search: SearchPart | None = None
    _configs: list[RunConfig] = PrivateAttr(default_factory=list)

    @cached_property
    def config(self) -> RunConfig:
        """The base configuration of all cells."""
        return overrides.from_dict(self.base)

    @property
    def configs(self) -> Sequence[RunConfig]:
        """The configuration of each cell, with the seed of the base configuration."""
        return self._configs

    @property
    def oracle(self) -> bool:
        """Whether the cells were selected with labels."""
        return self.search is not None and self.search.oracle

    @model_validator(mode="after")
    def _consistent(self) -> StudyFile:
        try:
            checked_seeds(self.seeds or 1, "seeds")
            for key in self.axes:
                check_key(key)
            base = self.config
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if len(self.cells) * len(self.seeds) > MAX_RUNS:
            raise ValueError(
                f"{len(self.cells):,} cells and {len(self.seeds):,} seeds give more than {MAX_RUNS:,} runs"
            )
        if self.baseline is not None:
            _checked_cell(base, self.axes.keys(), self.baseline, "baseline")
        for number, cell in enumerate(self.cells):
            self._configs.append(_checked_cell(base, self.axes.keys(), cell, f"cells.{number}"))
        for key, levels in self.axes.items():
            found = {repr(cell[key]): cell[key] for cell in self.cells}
            known = {identity([value]) for value in found.values()}
            if lost := [value for value in levels if identity([value]) not in known]:
                raise ValueError(f"axes.{key}: no cell has {json.dumps(lost[0])}")
        if self.search is None:
            if not self.cells:
                raise ValueError("an ablation has no cells")
            if self.baseline is not None and identity(self.baseline.values()) not in {
                identity(cell[key] for key in self.baseline) for cell in self.cells
            }:
                raise ValueError("baseline: not one of the cells")
        return self


def read(folder: Path) -> StudyFile:
    """Return the content of `study.json` in a folder.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the file is missing, invalid, inconsistent, or of another version.
    """
    path = folder / NAME
    try:
        with content.parsing(f"{path}: cannot be read", RecordError, but=FileNotFoundError):
            written = content.read(path)
    except FileNotFoundError:
        raise RecordError(f"{folder}: no study in this folder (no study.json)") from None
    return _parsed(path, written)


@functools.lru_cache(maxsize=2)
def _parsed(path: Path, written: bytes) -> StudyFile:
    """Return the checked content, cached: checking a large study takes a second."""
    folder = path.parent
    with content.parsing(f"{path}: not JSON", RecordError):
        tree = content.parse_json(written)
    if isinstance(tree, Mapping) and tree.get("schema") not in (SCHEMA, None):
        if tree["schema"] == migration.FROM:
            raise RecordError(f"{path}: schema {migration.FROM}; run `moevae migrate {folder}`")
        schema = content.shortened(repr(tree["schema"]))
        raise RecordError(f"{path}: schema {schema}; expected schema {SCHEMA}")
    with content.parsing(f"{path}: not a description of a study", RecordError):
        return StudyFile.model_validate(tree)


def write(folder: Path, tree: Mapping[str, Any], *, shared: bool = False) -> None:
    """Write `study.json` if its content has changed.

    A new study gets an identity, as does an old study that moves to a shared storage.

    Args:
        folder: the folder of the study, created if needed.
        tree: the content without the identity, from `described`.
        shared: whether the storage may hold studies of other folders.

    Raises:
        RecordError: the existing file is not JSON.
    """
    path = folder / NAME
    with content.parsing(f"{path}: cannot be read", RecordError):
        before = content.read(path) if path.exists() else b""
    with content.parsing(f"{path}: not JSON", RecordError):
        identity = content.parse_json(before).get("identity") if before else ""
    if identity or shared or not before:
        tree = {**tree, "identity": identity or uuid.uuid4().hex}
    text = f"{json.dumps(tree, indent=1, allow_nan=False)}\n".encode()
    if text != before:
        write_atomically(path, text)


def described(
    *,
    name: str,
    title: str,
    description: str,
    base: RunConfig,
    axes: Mapping[str, Iterable[Any]],
    baseline: Mapping[str, Any] | None,
    cells: Iterable[Mapping[str, Any]],
    seeds: Iterable[int],
    command: str,
    **more: Any,
) -> dict[str, Any]:
    """Return the content of `study.json`, without the identity; see `StudyFile` for the fields.

    Args:
        name: name of the study.
        title: first line of its report.
        description: text under the title.
        base: the configuration that cells change.
        axes: values by setting.
        baseline: the reference cell, by setting.
        cells: values of each cell, by setting.
        seeds: seeds of each cell.
        command: the command line that runs the study.
        more: the optional fields.
    """
    tree = {
        "schema": SCHEMA,
        "name": name,
        "title": title,
        "description": description,
        "base": overrides.to_dict(base),
        "axes": {key: [_json(value) for value in values] for key, values in axes.items()},
        "baseline": _json(baseline),
        "cells": [_json(cell) for cell in cells],
        "seeds": list(seeds),
        "command": command,
        **{key: _json(value) for key, value in more.items()},
    }
    return tree


def _checked_cell(base: RunConfig, axes: Iterable[str], values: Mapping[str, Any], where: str) -> RunConfig:
    """Return the configuration of a cell, which must have a value on each axis, in its canonical form."""
    if values.keys() != {*axes}:
        raise ValueError(f"{where}: has {', '.join(values) or 'nothing'}; expected {', '.join(axes)}")
    try:
        config = apply_settings(base, values, where)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    for key, value in values.items():
        made = overrides.lookup(config, key)
        if made == value and type(made) is type(value) and not isinstance(value, list | tuple):
            continue  # the usual case, without formatting both
        if identity([made]) != identity([value]):
            raise ValueError(f"{where}: {key} = {json.dumps(value)}, but its configuration has {made!r}")
    return config


def is_study(folder: Path) -> bool:
    """Return whether a folder holds a study."""
    try:
        return (folder / "study.json").is_file()
    except OSError:  # for example, the name is too long, or access is denied
        return False


def studies_in(results: Path) -> list[Path]:
    """Return the folders of the studies in a results folder, sorted by name."""
    return [path.parent for path in sorted(results.glob("*/study.json")) if is_study(path.parent)]


def identity(values: Any) -> str:
    """Return a text that is equal for equal cells.

    Args:
        values: values on the axes; 20 equals 20.0, and (64,) equals [64].
    """
    return json.dumps([_plain(value) for value in values])


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else str(value)


def _json(value: Any) -> Any:
    """Return a value as JSON reads it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: _json(part) for key, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, list | tuple) else value
