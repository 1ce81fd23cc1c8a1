"""`evaluate`: evaluate trained runs on a split."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console

from moevae.cli import results_table
from moevae.cli.commands import OF_EVALUATION
from moevae.cli.options import Evaluate
from moevae.config import parsing
from moevae.config.overrides import fingerprint
from moevae.config.schema import DataConfig
from moevae.data.datasets import Images, Labels, identify, load_images, load_labels
from moevae.data.sources import official_test
from moevae.errors import CheckpointError, ConfigError
from moevae.evaluation.results import Split
from moevae.evaluation.scores import Score, describe_marginal_samples, score
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.utils import devices
from moevae.utils.identity import differences
from moevae.utils.progress import show_evaluation


def evaluate(options: Evaluate) -> int:
    """Evaluate each checkpoint and print its metrics.

    Args:
        options: options of the command.

    Raises:
        ConfigError: no checkpoint is named, or a changed setting is fixed in a trained run.
    """
    if not options.checkpoints:
        raise ConfigError("no CHECKPOINT: expected a file that `moevae train` wrote")
    changes = parsing.parse_settings(options.set)
    for key in changes:
        if not key.startswith(OF_EVALUATION):
            raise ConfigError(
                f"--set {key}: fixed in a trained run; expected a setting of data or evaluation"
            )
    memory = parsing.parse_memory(options.memory)
    device = devices.resolve(options.device)
    devices.prepare()
    runs = [checkpoint.load(path) for path in options.checkpoints]
    configs = [parsing.apply_settings(run.config, changes) for run in runs]
    load = functools.cache(lambda data: _load(data, options.data_root))
    for path, run, config in zip(options.checkpoints, runs, configs, strict=True):
        images, labels = load(config.data)
        if len(getattr(images, options.split)):
            _check_split(path, run.config.data, config.data, options.split)
        check(path, run, config.data, images, labels)
    found = []
    for run, config in zip(runs, configs, strict=True):
        data = load(config.data)
        with show_evaluation(Console(stderr=True)) as note:
            found += score(run.model.to(device), [config], *data, options.split, memory, on_images=note)
    if options.json:
        entries = [
            {
                "checkpoint": str(path),
                "fingerprint": fingerprint(run.config),
                "seed": run.config.seed,
                "data": each.config.data.name,
                "num_samples": each.config.evaluation.num_samples,
                "split": options.split,
                **each.to_dict(),
            }
            for path, run, each in zip(options.checkpoints, runs, found, strict=True)
        ]
        print(json.dumps({"hardware": devices.describe(device), "runs": entries}, indent=1))
    else:
        _print(options, found, device)
    return 0


def _load(data: DataConfig, root: Path | None) -> tuple[Images, Labels | None]:
    return load_images(data, root), load_labels(data, root)


def _check_split(path: Path, trained: DataConfig, data: DataConfig, split: Split) -> None:
    """Check that no image of the split was among the training images of the run.

    Raises:
        ConfigError: the data set is divided otherwise than in training.
    """
    keys = {"train": [], "test": ["split_seed"], "validation": ["split_seed", "validation_size", "imbalance"]}
    fixed = split == "test" and official_test(data) is not None  # the seed then binarizes test images only
    for key in keys[split] if data.name == trained.name and not fixed else []:
        if (given := getattr(data, key)) != (before := getattr(trained, key)):
            raise ConfigError(
                f"--set data.{key}={given}: {path} was trained with {before}, and other {split} images may be"
                " among its training images"
            )


def check(path: Path, run: Trained, data: DataConfig, images: Images, labels: Labels | None = None) -> None:
    """Check that the images of a data set fit a checkpoint.

    Args:
        path: path of the checkpoint.
        run: the run in the checkpoint.
        data: the data configuration.
        images: the images.
        labels: the labels, if they are read.

    Raises:
        CheckpointError: the images have another size. If data of the same name have changed, a note is
            printed.
    """
    if (images.height, images.width) != (run.height, run.width):
        raise CheckpointError(
            f"{path}: trained on images of {run.height} x {run.width} pixels,"
            f" and {data.name} has {images.height} x {images.width}"
        )
    if data.name == run.config.data.name and run.identity:
        now = replace(identify(images, labels), labels=labels.sha256 if labels else None)
        if found := differences(run.identity, now):
            print(
                f"note: {data.name} differs from the data that {path} was trained on ({', '.join(found)})",
                file=sys.stderr,
            )


def _print(options: Evaluate, found: Sequence[Score], device: torch.device) -> None:
    rows = list(zip(options.checkpoints, found, strict=True))
    if results_table.are_seeds_of_one_cell(found):
        rows.sort(key=lambda row: row[1].config.seed)
        names = [f"seed {each.config.seed}" for _, each in rows]
    else:
        names = [f"run {number}" for number in range(1, len(rows) + 1)]
    ordered = [each for _, each in rows]
    data = list(dict.fromkeys(each.config.data.name for each in found))
    print(f"{options.split} split of {', '.join(data)}\n\n{results_table.table(ordered, names)}\n")
    print(describe_marginal_samples(ordered))
    print(results_table.loads(ordered, names))
    if overlap := results_table.shared(ordered, names):
        print(overlap)
    if any("nmi" in each.metrics for each in found):
        print(results_table.ABOUT_LABELS)
    for name, (path, each) in zip(names, rows, strict=True):
        print(f"{name}: {path}" + (f", on {each.config.data.name}" if len(data) > 1 else ""))
    speed = fmean(each.images_per_second for each in found)
    print(f"evaluated at {speed:,.0f} images/s\non {results_table.hardware(device)}")
