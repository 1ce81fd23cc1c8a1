"""Settings and seeds as a person types them: KEY=VALUE, "5" seeds, or "0,3,7"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ByteSize, TypeAdapter, ValidationError

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name

MOST_SEEDS = 10_000


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Return settings such as "train.epochs=5" by key; a value is JSON where it reads as such, else text.

    Raises:
        ConfigError: no equals sign, or an unknown key (the nearest valid one is named).
    """
    return dict(_setting(text) for text in texts)


def apply_settings(config: RunConfig, settings: Mapping[str, Any], where: str = "--set") -> RunConfig:
    """Return the configuration with settings changed, a whole objective first and then its parts.

    Raises:
        ConfigError: an impossible value; the message begins with `where`.
    """
    ordered = sorted(settings.items(), key=lambda item: item[0] != "objective")
    try:
        return overrides.override(config, dict(ordered))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def check_key(key: str) -> None:
    """Raise ConfigError unless the key is one of a configuration's, the seed apart."""
    if key == "seed":
        raise ConfigError("the seed is no setting: use seeds, or --seeds")
    closest_name("key", key, ("objective", *overrides.keys()))


def parse_memory(text: str | None) -> int | None:
    """Return the bytes of a size such as "2GiB" or "512MiB"; None of None.

    Raises:
        ConfigError: no size.
    """
    if text is None:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigError(f"--memory {text!r}: give a size, such as 2GiB or 512MiB") from None


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of "5" (a count: 0 to 4) or "0,3,7" (a list; one alone is "7,").

    Raises:
        ConfigError: no seed at all, one that is no number, negative or named twice, or too many.
    """
    wrong = ConfigError(f"--seeds {text!r}: give a count such as 5, or a list such as 0,3,7 (one alone: 7,)")
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
    """Return that many seeds, or these.

    Raises:
        ConfigError: none, too many, one out of range or there twice; the message begins with `where`.
    """
    chosen = tuple(range(min(seeds, MOST_SEEDS + 1))) if isinstance(seeds, int) else tuple(seeds)
    if not chosen:
        raise ConfigError(f"{where}: at least one seed is needed")
    if len(chosen) > MOST_SEEDS:
        raise ConfigError(f"{where}: more than {MOST_SEEDS:,} seeds")
    seen: set[int] = set()
    for seed in chosen:
        if not 0 <= seed < 2**63:
            raise ConfigError(f"{where}: seed {seed} is not in 0 .. 2^63 - 1")
        if seed in seen:
            raise ConfigError(f"{where}: seed {seed} is there twice")
        seen.add(seed)
    return chosen


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"--set {text}: write KEY=VALUE, such as train.epochs=5")
    try:
        check_key(key)
    except ConfigError as error:
        raise ConfigError(f"--set {text}: {error}") from None
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value.strip()


def remedy(learning_rate: float) -> str:
    """Return what helps a run that diverged, with the learning rate that it had."""
    return (
        f"a run whose loss diverges needs a lower learning rate: train.learning_rate is {learning_rate:g},"
        f" try --set train.learning_rate={learning_rate / 10:g}"
    )
