"""What `train` is asked to do: which runs, and where each is kept. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from moevae.cli.options import Train
from moevae.config import parsing
from moevae.config.overrides import fingerprint, keys, lookup, to_dict
from moevae.config.presets import preset
from moevae.config.registry import PRESETS
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError


def configurations(options: Train) -> list[RunConfig]:
    """Return the runs that were asked for, one a seed.

    Raises:
        ConfigError: anything in the options that no run can have.
    """
    if options.seeds is None:
        seeds = parsing.checked_seeds([options.seed], "--seed")
    elif options.seed:
        raise ConfigError(f"--seed {options.seed} and --seeds {options.seeds}: give one of the two")
    else:
        seeds = parsing.parse_seeds(options.seeds)
    base = preset(options.preset or (options.data if options.data and options.data in PRESETS else "digits"))
    if options.data is not None:
        base = parsing.apply_settings(base, {"data.name": options.data}, "--data")
    base = parsing.apply_settings(base, parsing.parse_settings(options.set))
    return [replace(base, seed=seed) for seed in seeds]


def place(config: RunConfig, folder: Path) -> Path:
    """Return the file that keeps a run."""
    return folder / f"{fingerprint(config)}.safetensors"


def show(options: Train) -> int:
    """Print the runs that would be trained."""
    configs = configurations(options)
    places = [place(config, options.output) for config in configs]
    if options.json:
        runs = [
            {
                "fingerprint": fingerprint(config),
                "checkpoint": str(path),
                "exists": path.exists(),
                "config": to_dict(config),
            }
            for config, path in zip(configs, places, strict=True)
        ]
        print(json.dumps({"runs": runs}, indent=1))
        return 0
    print(described(configs[0]))
    print()
    for config, path in zip(configs, places, strict=True):
        state = "is there already" if path.exists() and not options.force else "would be trained"
        print(f"seed {config.seed}: {path} {state}")
    print("dry run: nothing was written")
    return 0


def described(config: RunConfig) -> str:
    """Return all settings but the seed, one a line, as `--set` takes them."""
    return "\n".join(f"{key}={_typed(config, key)}" for key in keys() if key != "seed")


def _typed(config: RunConfig, key: str) -> str:
    value = lookup(config, key)
    return value if isinstance(value, str) else json.dumps(value)
