"""Parsing of settings and seeds from text: KEY=VALUE, "5" seeds, or "0,3,7"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ByteSize, TypeAdapter, ValidationError

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name

MAX_SEEDS = 10_000
"""Maximum number of seeds of one command."""


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Return settings such as "train.epochs=5" by key; a value is JSON if it can be parsed, else text.

    Args:
        texts: settings, each as KEY=VALUE.

    Raises:
        ConfigError: the equals sign is missing, or a key is unknown; the message names the nearest.
    """
    return dict(_setting(text) for text in texts)


def apply_settings(config: RunConfig, settings: Mapping[str, Any], where: str = "--set") -> RunConfig:
    """Return the configuration with changed settings; see `overrides.override`.

    Args:
        config: the configuration; it is not changed.
        settings: new values by dotted key.
        where: where the settings were written, for messages.

    Raises:
        ConfigError: a value is invalid; the message begins with `where`.
    """
    try:
        return overrides.override(config, settings)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def check_key(key: str) -> None:
    """Check that a key is a setting other than the seed.

    Args:
        key: dotted key, or `objective`.

    Raises:
        ConfigError: the key is unknown, or is `seed`.
    """
    if key == "seed":
        raise ConfigError("the seed is not a setting: use seeds, or --seeds")
    closest_name("key", key, ("objective", *overrides.keys()))


def parse_memory(text: str | None) -> int | None:
    """Return a size such as "2GiB" or "512MiB" in bytes; None for None.

    Args:
        text: a number with a unit, or None.

    Raises:
        ConfigError: the text is not a size.
    """
    if text is None:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigError(f"--memory {text!r}: expected a size, such as 2GiB or 512MiB") from None


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of "5" (a count: 0 to 4) or "0,3,7" (a list; "7," for a single seed).

    Args:
        text: a count or a list of seeds.

    Raises:
        ConfigError: the list is empty or too long, or a seed is not a number, negative or given twice.
    """
    wrong = ConfigError(f"--seeds {text!r}: expected a count such as 5, or a list such as 0,3,7 or 7,")
    try:
        seeds = [int(part) for part in text.removesuffix(",").split(",")]
    except ValueError:
        raise wrong from None
    if "," in text:
        return checked_seeds(seeds, f"--seeds {text!r}")
    if seeds[0] < 1:
        raise wrong
    return checked_seeds(seeds[0], f"--seeds {text!r}")


def checked_seeds(seeds: int | Sequence[int], where: str) -> tuple[int, ...]:
    """Return the given number of seeds, or the given seeds.

    Args:
        seeds: number of seeds, for 0, 1, ..., or the seeds.
        where: beginning of error messages.

    Raises:
        ConfigError: none or too many seeds, or one invalid or given twice; the message begins with `where`.
    """
    chosen = tuple(range(min(seeds, MAX_SEEDS + 1))) if isinstance(seeds, int) else tuple(seeds)
    if not chosen:
        raise ConfigError(f"{where}: expected at least one seed")
    if len(chosen) > MAX_SEEDS:
        raise ConfigError(f"{where}: more than {MAX_SEEDS:,} seeds")
    seen: set[int] = set()
    for seed in chosen:
        if not 0 <= seed < 2**63:
            raise ConfigError(f"{where}: seed {seed} is not in 0 .. 2^63 - 1")
        if seed in seen:
            raise ConfigError(f"{where}: seed {seed} is given twice")
        seen.add(seed)
    return chosen


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"--set {text}: expected KEY=VALUE, such as train.epochs=5")
    try:
        check_key(key)
    except ConfigError as error:
        raise ConfigError(f"--set {text}: {error}") from None
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value.strip()


def remedy(learning_rate: float) -> str:
    """Return advice for a run that diverged with this learning rate."""
    return (
        f"a run whose loss diverges needs a lower learning rate: train.learning_rate is {learning_rate:g},"
        f" try --set train.learning_rate={learning_rate / 10:g}"
    )
