"""The runs that `train` is to train, and their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from moevae.cli.options import Train
from moevae.config import parsing
from moevae.config.overrides import fingerprint, keys, lookup, to_dict
from moevae.config.presets import preset
from moevae.config.registry import DATASETS, FILE_FORMATS, PRESETS, RELEASES
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.utils.io import expand_home


def configurations(options: Train) -> list[RunConfig]:
    """Return the requested runs, one per seed.

    Raises:
        ConfigError: an option is invalid.
    """
    if options.seeds is not None and options.seed is not None:
        raise ConfigError(f"--seed {options.seed} and --seeds {options.seeds}: expected only one of them")
    base = _base(options)
    seed = base.seed if options.seed is None else options.seed
    seeds = parsing.parse_seeds(options.seeds) if options.seeds else parsing.checked_seeds([seed], "--seed")
    if options.data is not None:
        base = parsing.apply_settings(base, {"data.name": data_name(options.data)}, "--data")
    if options.on_bad_image is not None:
        base = parsing.apply_settings(base, {"data.bad_images": options.on_bad_image}, "--on-bad-image")
    base = parsing.apply_settings(base, parsing.parse_settings(options.set))
    return [replace(base, seed=seed) for seed in seeds]


def _base(options: Train) -> RunConfig:
    """Return the base settings: those of a preset, or of the run to continue."""
    if options.start is None:
        named = options.data if options.data and options.data in PRESETS else "digits"
        base = preset(options.preset or named)
        if options.epochs is not None:
            base = parsing.apply_settings(base, {"train.epochs": options.epochs}, "--epochs")
        return base
    if options.preset is not None:
        raise ConfigError(f"--preset {options.preset} and --from: a continued run has its own settings")
    if options.epochs is None:
        raise ConfigError("--from needs --epochs, the number of additional epochs")
    from moevae.training import checkpoint  # needs torch
    from moevae.training.continuation import continued

    trained = checkpoint.load(options.start)
    return continued(trained.config, trained.model, options.epochs)


def data_name(typed: str) -> str:
    """Return the name of a data set; a path of a folder becomes `folder:PATH`."""
    known = typed in DATASETS or typed in RELEASES or typed.partition(":")[0] in FILE_FORMATS
    return f"folder:{typed}" if not known and expand_home(Path(typed)).is_dir() else typed


def checkpoint_path(config: RunConfig, folder: Path) -> Path:
    """Return the path of the checkpoint of a run.

    Args:
        config: configuration of the run.
        folder: folder of the checkpoints.
    """
    return folder / f"{fingerprint(config)}.safetensors"


def show(options: Train) -> int:
    """Print the runs that would be trained."""
    configs = configurations(options)
    places = [checkpoint_path(config, options.output) for config in configs]
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
    print(settings_text(configs[0]))
    print()
    for config, path in zip(configs, places, strict=True):
        state = "exists" if path.exists() and not options.force else "would be trained"
        print(f"seed {config.seed}: {path} {state}")
    print("dry run: nothing was written")
    return 0


def settings_text(config: RunConfig) -> str:
    """Return all settings except the seed, one per line, in the format of `--set`."""
    return "\n".join(f"{key}={_typed(config, key)}" for key in keys() if key != "seed")


def _typed(config: RunConfig, key: str) -> str:
    value = lookup(config, key)
    return value if isinstance(value, str) else json.dumps(value)
