"""Configurations by dotted key: overrides, look-ups, nested data, and the fingerprint."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from moevae.config.objectives import INDEPENDENT_SETTINGS, MEMBERS, member
from moevae.config.schema import ADDED, SCHEMA, RunConfig
from moevae.errors import ConfigError
from moevae.utils.content import shortened
from moevae.utils.suggest import closest_name


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain nested data, ready for JSON.

    Args:
        config: the configuration.
    """
    return cast(dict[str, Any], _ADAPTER.dump_python(config, mode="json"))


def from_dict(tree: Mapping[str, Any]) -> RunConfig:
    """Return the configuration in nested data; missing keys have their defaults.

    Args:
        tree: values by section and name.

    Raises:
        ConfigError: a key is unknown (the message names the nearest valid key), or a value is invalid.
    """
    if not isinstance(tree, Mapping):
        raise ConfigError(f"a configuration is a table of keys, not a {type(tree).__name__}")
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        for path, _ in leaves(tree):
            check_known(path)
        raise ConfigError(_one_line(error)) from None


def fingerprint(config: RunConfig | Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that identify a run: a hash of the fields and the schema version.

    A field of `ADDED` that has the value given there is not hashed, so that a new field does not change the
    fingerprints of earlier runs.

    Args:
        config: the configuration, or all of it as plain nested data, from `to_dict`.

    Examples:
        >>> import moevae
        >>> len(moevae.fingerprint(moevae.preset("mnist")))
        16
    """
    whole = to_dict(config) if isinstance(config, RunConfig) else config
    tree = {name: {**part} if isinstance(part, Mapping) else part for name, part in whole.items()}
    for section, name, before in _ADDED:
        if tree[section][name] == before:
            del tree[section][name]
    text = json.dumps({"schema": SCHEMA, "config": tree}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def override(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with changed settings, such as {"objective.balance_weight": 5}.

    `moevae info --settings` lists the keys. The value of `objective` is the name of a member, such as "elbo";
    settings that do not define the member are kept, and other changes of the section are applied after it.

    Args:
        config: the configuration; it is not changed.
        changes: new values by dotted key.

    Raises:
        ConfigError: a key or member is unknown (the message names the nearest), or a value is invalid.

    Examples:
        >>> import moevae
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 5, "objective": "elbo"})
        >>> config.train.epochs, config.objective.balance_weight
        (5, 1.0)
    """
    tree = to_dict(config)
    for key, value in sorted(changes.items(), key=lambda change: change[0] != "objective"):
        if key == "objective":
            chosen = asdict(cast(Any, MEMBERS[closest_name("objective", str(value), MEMBERS)]))
            tree["objective"] = chosen | {name: tree["objective"][name] for name in INDEPENDENT_SETTINGS}
            continue
        check_known(key)
        *sections, leaf = key.split(".")
        branch = tree
        for section in sections:
            branch = branch[section]
        branch[leaf] = value
    return from_dict(tree)


def lookup(config: RunConfig, key: str) -> Any:
    """Return the value at a dotted key; `objective` gives the member's name, or "free".

    Args:
        config: the configuration.
        key: dotted key of a setting, or `objective`.
    """
    if key == "objective":
        return member(config.objective)
    check_known(key)
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


@functools.cache
def keys() -> tuple[str, ...]:
    """Return all dotted keys of a configuration."""
    return tuple(path for path, _ in leaves(to_dict(RunConfig())))


def check_known(key: str) -> None:
    """Raise ConfigError, with the nearest valid key, unless a configuration has this key.

    Args:
        key: dotted key of a setting.
    """
    if key in keys():
        return
    if within := [each for each in keys() if each.startswith(f"{key}.")]:
        raise ConfigError(
            f"unknown key {key!r}: a group of settings; expected one of its keys, such as {within[0]}"
        )
    closest_name("key", key, keys())


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf of nested data.

    Args:
        tree: nested data.
        prefix: dotted key of the tree itself.
    """
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    message = first["msg"].removeprefix("Value error, ")
    if message.startswith(where):  # as in errors about several keys
        return message
    return f"{where} = {shortened(repr(first['input']))}: {message[0].lower()}{message[1:]}"


_ADAPTER = TypeAdapter(RunConfig)
_ADDED = tuple((*key.split("."), before) for key, before in ADDED.items())
