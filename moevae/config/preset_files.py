"""Presets of the user: all settings of a run, except the seed, as a TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from moevae.config.overrides import from_dict, to_dict
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.utils import content
from moevae.utils.io import expand_home, write_atomically

SUFFIX = ".toml"
"""Ending of the name of a preset file; no other preset has such a name."""

_MAX_BYTES = 1 << 14
"""Largest size of a file, in bytes."""


def read(path: Path) -> RunConfig:
    """Return the preset in a file; settings that it lacks have their defaults.

    Args:
        path: the TOML file.

    Raises:
        ConfigError: the file is missing or not TOML, or a setting is unknown or has an invalid value.
    """
    with content.parsing(f"preset {path}", ConfigError):
        tree = tomllib.loads(content.read(expand_home(path), _MAX_BYTES).decode())
        if "seed" in tree:
            raise ConfigError(f"preset {path}: a preset has no seed; use --seed or --seeds")
        if "axes" in tree:
            raise ConfigError(
                f"preset {path}: a profile of a study; run it with: moevae ablate --profile {path}"
            )
        try:
            return from_dict(tree)
        except ConfigError as error:
            raise ConfigError(f"preset {path}: {error}") from None


def write(path: Path, config: RunConfig) -> None:
    """Write the settings of a run as a preset.

    The seed and the weights that a continued run started from are left out.

    Args:
        path: the TOML file, which must not exist.
        config: the configuration.

    Raises:
        ConfigError: the file exists, has another ending, or cannot be written.
    """
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path}: expected a name that ends in {SUFFIX}")
    if os.path.lexists(path):
        raise ConfigError(f"{path}: already exists, and no file is overwritten")
    tree = to_dict(config)
    del tree["seed"], tree["train"]["start"]
    try:
        write_atomically(path, tomli_w.dumps(_without_none(tree)).encode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """Return nested data without settings that are None, their default, which TOML cannot express."""
    pairs = {key: _without_none(value) if isinstance(value, dict) else value for key, value in tree.items()}
    return {key: value for key, value in pairs.items() if value is not None}
