"""Profiles: the definition of a study as a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from moevae.config import overrides
from moevae.config.parsing import check_key
from moevae.errors import ConfigError
from moevae.utils.content import parsing
from moevae.utils.content import read as read_content
from moevae.utils.suggest import closest_name
from studies.records.study_file import Value

PROFILES = Path(__file__).parent.parent / "profiles"
_EXAMPLES = {
    "title": 'title = "Balancing on MNIST"',
    "preset": 'preset = "digits"',
    "seeds": "seeds = 5, or seeds = [0, 3, 7]",
    "exclude": 'tables such as [[exclude]] with routing.kind = ["hard"] and routing.temperature = [1, 2]',
    "cell": "tables such as [[cell]] with routing.temperature = 2, values of axes",
    "axes": "a list for each setting below [axes], such as routing.temperature = [1, 2]",
}
_MAX_BYTES = 1 << 20
"""Maximum size of a profile, in bytes."""
_MAX_DEPTH = 8
"""Maximum nesting of tables and lists; `[axes.routing]` with a list of lists has depth 4."""


class Expected(BaseModel):
    """The duration of the study, and the machine on which it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: str
    machine: str


class Profile(BaseModel):
    """The definition of a study. Settings and axes have dotted keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    description: str = ""
    preset: str
    set: dict[str, Any] = {}
    axes: dict[str, list[Value]] = Field(min_length=1)
    seeds: StrictInt | list[StrictInt]
    reference: dict[str, Value] = {}
    """The reference cell; `[baseline]` is an older name of this section. Default: the value of the preset if
    it is on the axis, else the first value."""
    exclude: list[dict[str, list[Value]]] = []
    """Combinations of levels that are left out, as lists of levels by axis: a cell is left out if it has one
    of the listed levels on each axis of an entry."""
    cell: list[dict[str, Value]] = []
    """Cells in addition to those of the design: levels by axis, where they differ from the reference."""
    design: Literal["grid", "one-at-a-time", "listed"] = "grid"
    """`one-at-a-time` varies one axis around the reference cell, on each data set; `listed` has the reference
    cell and the entries of `cell` only."""
    expected: Expected | None = None


def read_profile(path: Path) -> Profile:
    """Read a profile. The default name is that of the file; nested tables become dotted keys.

    Args:
        path: the TOML file.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown (the message names the nearest valid
            key), or a value has the wrong type.
    """
    try:
        with parsing(f"profile {path}", ConfigError, but=FileNotFoundError):
            tree = tomllib.loads(read_content(path, _MAX_BYTES).decode())
    except FileNotFoundError as error:
        reason = (error.strerror or "").lower()
        known = f"available profiles: {', '.join(names())}"
        raise ConfigError(f"profile {path}: {reason}; {known}") from None
    try:
        if depth(tree) > _MAX_DEPTH:
            raise ConfigError(f"tables are nested more than {_MAX_DEPTH} levels deep")
        if "baseline" in tree:
            if "reference" in tree:
                raise ConfigError("[baseline] is an older name of [reference]; give one of them")
            tree["reference"] = tree.pop("baseline")
        for key in tree:
            closest_name("key", key, Profile.model_fields)
        tree.setdefault("name", path.stem)
        for section in ("set", "axes", "reference"):
            if isinstance(tree.get(section), dict):
                tree[section] = dict(overrides.leaves(tree[section]))
                for key in tree[section]:
                    check_key(key)
        for section in ("exclude", "cell"):
            if isinstance(tree.get(section), list):
                tree[section] = [
                    dict(overrides.leaves(each)) if isinstance(each, dict) else each for each in tree[section]
                ]
        return Profile.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        right = _EXAMPLES.get(str(first["loc"][0]))
        hint = f"; expected {right}" if right else ""
        raise ConfigError(f"profile {path.name}: {where}: {first['msg'].lower()}{hint}") from None
    except ConfigError as error:
        raise ConfigError(f"profile {path.name}: {error}") from None


def names() -> list[str]:
    """Return the names of the built-in profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def depth(tree: Any) -> int:
    """Return the nesting depth of tables and lists: 0 for a value, 1 for a table of values."""
    deepest, level = 0, [tree]
    while level := [part for part in level if isinstance(part, dict | list)]:
        deepest += 1
        level = [each for part in level for each in (part.values() if isinstance(part, dict) else part)]
    return deepest
