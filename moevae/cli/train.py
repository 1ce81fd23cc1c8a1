"""`train`: train the missing runs, evaluate all of them, and save those that did not fail."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console

from moevae.cli import dry_run, results_table
from moevae.cli.options import Train
from moevae.config import parsing
from moevae.config.overrides import fingerprint, to_dict
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels, identify, load_images, load_labels
from moevae.errors import CheckpointError, ConfigError
from moevae.evaluation.assign import with_threshold
from moevae.evaluation.results import Split
from moevae.evaluation.scores import Score, describe_marginal_samples, score
from moevae.models.mixture import Mixture
from moevae.training import checkpoint, snapshot_files, snapshots
from moevae.training.checkpoint import Trained
from moevae.training.continuation import check_start
from moevae.training.population import Population
from moevae.training.results import EpochStats, FitResult
from moevae.utils import devices
from moevae.utils.identity import differences
from moevae.utils.io import why_unwritable
from moevae.utils.progress import Note, show_evaluation, show_progress

SHOWN_METRICS = {"mixture_elbo": "ELBO", "nmi": "NMI"}
"""Metrics shown in a line of progress."""


@dataclass(frozen=True)
class Result:
    """The result of one requested run."""

    config: RunConfig
    path: Path
    status: str
    """`trained`, `existing`, or `failed`."""
    scores: dict[Split, Score]
    failure: str | None = None
    seconds: float | None = None
    """Wall time of training the population, without evaluation."""
    images_per_second: float | None = None
    """Training images per second, summed over the population."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "fingerprint": fingerprint(self.config),
            "seed": self.config.seed,
            "status": self.status,
            "failure": self.failure,
            "checkpoint": None if self.failure else str(self.path),
            "scores": {split: found.to_dict() for split, found in self.scores.items()},
            "train_seconds": self.seconds,
            "train_images_per_second": self.images_per_second,
            "config": to_dict(self.config),
        }


def train(options: Train) -> int:
    """Train, evaluate and save runs.

    Args:
        options: options of the command.

    Returns:
        The exit code: 1 if a run failed.

    Raises:
        CheckpointError: a file cannot be written, or an existing checkpoint is invalid or of other data.
        KeyboardInterrupt: training was interrupted; the message says what is kept.
    """
    console = Console(stderr=True)
    configs = dry_run.configurations(options)
    device = devices.resolve(options.device)
    devices.prepare()
    problem = why_unwritable(options.output)
    if problem:
        raise CheckpointError(f"--output {options.output}: {problem}")
    images = load_images(configs[0].data, options.data_root)
    labels = load_labels(configs[0].data, options.data_root)
    start = _start(options, configs[0], images)
    existing = {config: found for config in configs if (found := _existing(config, images, labels, options))}
    results = [_measured(found, images, labels, device, options, console) for found in existing.values()]
    for result in results:
        _say(console, f"{result.path} exists: not trained again")
    missing = [config for config in configs if config not in existing]
    if missing:
        origin = _origin(missing[0], images, labels, device)
        kept = snapshot_files.snapshot_path(options.output, missing, origin)
        try:
            results += _train(missing, images, labels, device, options, origin, console, start)
            kept.unlink(missing_ok=True)
        except KeyboardInterrupt:
            left = "nothing was written"
            if kept.exists():
                left = "the same command continues from the last epochs"
            elif any(dry_run.checkpoint_path(config, options.output).exists() for config in missing):
                left = "the runs that were saved are kept; the same command trains the others"
            raise KeyboardInterrupt(left) from None
    results.sort(key=lambda result: configs.index(result.config))
    if options.json:
        runs = [result.to_dict() for result in results]
        hardware = devices.describe(device, configs[0].train.precision)
        print(json.dumps({"hardware": hardware, "runs": runs}, indent=1, allow_nan=False))
    else:
        _print(results, device)
    for result in results:
        if result.failure:
            _say(console, f"failed: seed {result.config.seed}: {result.failure}; this run was not saved")
            _say(console, parsing.remedy(result.config.train.learning_rate))
    return 1 if any(result.failure for result in results) else 0


def _start(options: Train, config: RunConfig, images: Images) -> Mixture | None:
    """Return the weights of the run to continue, after checking its architecture and data."""
    if options.start is None:
        check_start(config, images.size, None)
        return None
    trained = checkpoint.load(options.start)
    try:
        check_start(config, images.size, trained.model)
    except ConfigError as error:
        raise ConfigError(f"--from {options.start}: {error}") from None
    now = replace(identify(images, None), labels=None)  # weights do not depend on labels
    if trained.identity and (found := differences(replace(trained.identity, labels=None), now)):
        raise CheckpointError(
            f"--from {options.start}: {images.name} differs from the images that this run was trained on"
            f" ({', '.join(found)}); expected the same"
        )
    return trained.model


def _origin(config: RunConfig, images: Images, labels: Labels | None, device: torch.device) -> dict[str, str]:
    """Return what determines the weights; labels do if they choose the images."""
    data = identify(images, labels if config.data.imbalance != 1 else None)
    return snapshots.origin(data, device.type)


def _existing(config: RunConfig, images: Images, labels: Labels | None, options: Train) -> Trained | None:
    """Return the run if it has a checkpoint."""
    path = dry_run.checkpoint_path(config, options.output)
    if options.force or not path.exists():
        return None
    try:
        trained = checkpoint.load(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; --force trains it again") from None
    if fingerprint(trained.config) != fingerprint(config):
        raise CheckpointError(
            f"{path}: contains another run ({fingerprint(trained.config)}); rename it, or use --force"
        )
    then, now = trained.identity, identify(images, labels)
    if config.data.imbalance == 1:  # labels did not choose images; scores use the current labels
        now = replace(now, labels=None)
    if then and (found := differences(then, now)):
        raise CheckpointError(
            f"{path}: {images.name} differs from the data that this run was trained on ({', '.join(found)}); "
            "restore the file, or train it again with --force"
        )
    return trained


def _measured(
    trained: Trained,
    images: Images,
    labels: Labels | None,
    device: torch.device,
    options: Train,
    console: Console,
) -> Result:
    config, model = trained.config, trained.model.to(device)
    found = {split: _scores(model, [config], images, labels, split, console)[0] for split in _splits(images)}
    return Result(config, dry_run.checkpoint_path(config, options.output), "existing", found)


def _train(
    configs: Sequence[RunConfig],
    images: Images,
    labels: Labels | None,
    device: torch.device,
    options: Train,
    origin: Mapping[str, str],
    console: Console,
    start: Mixture | None,
) -> list[Result]:
    count, data = len(configs), configs[0].data.name
    where = results_table.hardware(device, configs[0].train.precision)
    runs = f"{count} runs" if count > 1 else "1 run"
    _say(console, f"Training {runs} on {len(images.train):,} images of {data}\non {where}")
    if configs[0].train.gate_start == "clustering":
        _say(console, "clustering the graph of neighbors first")
    population = Population(configs, images, device, start=start, cuda_graph=options.cuda_graph)
    if (passes := population.parts[0].batches.passes) > 1:
        _say(console, f"each epoch passes {passes} times over the images (train.min_steps)")
    with show_progress(console) as note:
        fit = snapshots.train_with_snapshots(
            population,
            options.output,
            origin,
            on_epoch=lambda progress: _note(note, progress, configs, images, labels),
        )
    by_split = {
        split: _scores(fit.model, configs, images, labels, split, console) for split in _splits(images)
    }
    results = []
    for run, config in enumerate(configs):
        path, failure = dry_run.checkpoint_path(config, options.output), _failure(fit, run, by_split)
        if not failure:
            _save(path, fit, run, images, labels)
        found = {} if failure else {split: measured[run] for split, measured in by_split.items()}
        status = "failed" if failure else "trained"
        results.append(Result(config, path, status, found, failure, fit.seconds, fit.images_per_second))
    return results


def _scores(
    model: Mixture,
    configs: Sequence[RunConfig],
    images: Images,
    labels: Labels | None,
    split: Split,
    console: Console,
) -> list[Score]:
    """Evaluate each run on a split, and show the progress."""
    with show_evaluation(console) as note:
        return score(model, configs, images, labels, split, on_images=note)


def _note(
    note: Note,
    progress: EpochStats,
    configs: Sequence[RunConfig],
    images: Images,
    labels: Labels | None,
) -> None:
    """Show means over the runs that have not failed, on the validation split if there is one."""
    alive = [run for run, failure in enumerate(progress.failures) if failure is None]
    numbers = {"loss": fmean(progress.losses[run] for run in alive)} if alive else {}
    if alive and len(images.validation):
        found = score(progress.model, configs, images, labels, "validation", importance=False)
        for name, word in SHOWN_METRICS.items():
            if name in found[0].metrics:
                numbers[f"validation {word}"] = fmean(found[run].metrics[name] for run in alive)
    note(progress.epoch, progress.epochs, numbers or {"loss": math.nan})


def _failure(fit: FitResult, run: int, by_split: dict[Split, list[Score]]) -> str | None:
    failure = fit.failures[run]
    if failure:
        return f"{failure.reason} in epoch {failure.epoch}, step {failure.step}"
    broken = ((split, found[run].broken) for split, found in by_split.items())
    return next((f"{words} on the {split} split" for split, words in broken if words), None)


def _save(path: Path, fit: FitResult, run: int, images: Images, labels: Labels | None) -> None:
    trained = with_threshold(fit, run, images, labels)
    try:
        checkpoint.save(path, trained)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from None


def _splits(images: Images) -> list[Split]:
    return ["validation", "test"] if len(images.validation) else ["test"]


def _print(results: Sequence[Result], device: torch.device) -> None:
    good = [result for result in results if not result.failure]
    names = [f"seed {result.config.seed}" for result in good]
    for split in ("validation", "test"):
        if good and split in good[0].scores:
            print(f"{split} split\n\n{results_table.table([run.scores[split] for run in good], names)}\n")
    if good:
        print(describe_marginal_samples([run.scores["test"] for run in good]))
        print(results_table.loads([run.scores["test"] for run in good], names))
        if overlap := results_table.shared([run.scores["test"] for run in good], names):
            print(overlap)
        if "nmi" in good[0].scores["test"].metrics:
            print(results_table.ABOUT_LABELS)
    for name, result in zip(names, good, strict=True):
        print(f"{name}: {result.path}")
    trained = [result for result in good if result.seconds is not None]
    if trained:
        seconds, speed = trained[0].seconds, trained[0].images_per_second
        where = results_table.hardware(device, trained[0].config.train.precision)
        print(f"trained in {seconds:.1f} s, {speed:,.0f} images/s\non {where}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
