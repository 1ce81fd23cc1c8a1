"""Execution of runs: train a population, evaluate it, and create the record of each run."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from moevae.config.overrides import fingerprint, to_dict
from moevae.config.schema import DataConfig, RunConfig
from moevae.data.classes import MAX_COUNTED
from moevae.data.datasets import Images, Labels, identify, load_images, load_labels
from moevae.errors import IdentityError
from moevae.evaluation import clustering
from moevae.evaluation.all_images import score_all_images
from moevae.evaluation.assign import with_threshold
from moevae.evaluation.evaluate import Evaluation, Split, evaluate
from moevae.evaluation.label_metrics import reliability, run_metrics
from moevae.evaluation.sample_neighbors import sample_neighbors
from moevae.training import checkpoint, snapshot_files, snapshots
from moevae.training.checks import check_population
from moevae.training.population import Population
from moevae.training.results import FitResult, TrainingFailure
from moevae.utils import devices, provenance
from studies.execution.config import ExecutionConfig
from studies.execution.events import EpochReport
from studies.execution.recorder import Drawing, RunRecorder
from studies.records import origins
from studies.records.schema import (
    Confusion,
    Data,
    Failure,
    Hardware,
    Method,
    Outcome,
    Picture,
    Record,
    Reliability,
    Seconds,
    Throughput,
    name_of,
)


def run_population(
    configs: Sequence[RunConfig],
    execution: ExecutionConfig | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> list[Outcome]:
    """Train runs of one shape together and return one outcome per run, in order.

    A run whose loss becomes NaN or infinite is returned as failed; the other runs continue. The number of
    torch's threads is restored at the end; glibc keeps freed memory until the process ends, see
    `devices.keep_freed_memory`.

    Args:
        configs: one configuration per run.
        execution: where the runs take place.
        on_epoch: called after each epoch.

    Raises:
        MoevaeError: the data are invalid, the device is not available, or the configurations are empty or
            have different shapes.
    """
    check_population(configs)
    execution = execution or ExecutionConfig()
    devices.keep_freed_memory()
    with devices.cpu_settings(execution.threads):
        return _run(configs, execution, on_epoch)


def _run(
    configs: Sequence[RunConfig], execution: ExecutionConfig, on_epoch: Callable[[EpochReport], None] | None
) -> list[Outcome]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    images, labels = checked_data(configs[0].data, execution)
    recorder = RunRecorder(configs, images, labels, on_epoch, execution.memory, execution.map)
    device = devices.resolve(execution.device)
    training = Population(configs, images, device, execution.population_chunk)
    folder = Path(execution.snapshots) if execution.snapshots else None
    of = snapshots.origin(identify(images, labels), device.type, "moevae", "studies")
    kept = snapshot_files.snapshot_path(folder, configs, of) if folder else None
    began = None if kept and kept.exists() else devices.energy(training.device)
    fit = snapshots.train_with_snapshots(
        training, folder, of, seconds=execution.snapshot_seconds, on_epoch=recorder.note, companion=recorder
    )

    ended = devices.energy(training.device)
    begin = time.perf_counter()
    by_split = {
        split: evaluate(fit.model, configs, images, split, memory=execution.memory)
        for split in splits(images)
    }
    seconds = time.perf_counter() - begin
    whole = score_all_images(fit.model, configs, images, labels, execution.memory)
    total = time.perf_counter() - begin
    seen = sum(len(getattr(images, split)) for split in by_split) * len(configs)
    shared = provenance_fields(images, labels, fit.model.device, started, configs[0].train.precision) | {
        "throughput": Throughput(
            train_images_per_second=fit.images_per_second,
            evaluation_images_per_second=seen / seconds,
            population=len(configs),
        ),
        "seconds": Seconds(train=fit.seconds, evaluation=total),
        "energy_joules": None if began is None or ended is None else ended - began,
    }
    outcomes = []
    for run, config in enumerate(configs):
        name = fingerprint(config)
        failure = failure_of(fit.failures[run], by_split, run)
        found: dict[str, Any] = {}
        if not failure:
            found = result_fields(by_split, run, labels, config.model.num_experts, config.data)
            found["metrics"]["test"] |= whole[run]
            if config.train.revival:
                revived = sum(point.metrics["revived_experts"] for point in recorder.curves[run])
                found["metrics"]["test"]["revived_experts"] = revived
        drawn = [] if failure else recorder.pictures(fit.model, run, by_split["test"][run].assignments)
        if not failure and (near := sample_neighbors(fit.model.select_run(run), config, images)):
            found["metrics"]["test"] |= near.metrics()
            drawn.append(recorder.neighbors(near))
        record = Record.model_validate(
            {
                "fingerprint": name,
                "config": to_dict(config),
                "status": "failed" if failure else "complete",
                "failure": failure,
                "curve": recorder.curves[run],
                "pictures": {each.kind: _picture(name, each) for each in drawn},
                **found,
                **shared,
            }
        )
        outcomes.append(
            Outcome(
                record=record,
                files={_file(name, each.kind): each.content for each in drawn},
                weights=_weights(fit, run, images, labels)
                if execution.keep_weights and not failure
                else None,
            )
        )
    if kept:
        kept.unlink(missing_ok=True)
    return outcomes


def _weights(fit: FitResult, run: int, images: Images, labels: Labels | None) -> bytes:
    """Return the checkpoint of a run, as `moevae train` writes it."""
    return checkpoint.encode(with_threshold(fit, run, images, labels))


def failed_outcomes(
    configs: Sequence[RunConfig], execution: ExecutionConfig, failure: Failure, method: Method | None = None
) -> list[Outcome]:
    """Return the outcomes, in order, of runs that failed on this machine.

    Args:
        configs: configurations of the runs.
        execution: how runs are executed.
        failure: the failure of all runs.
        method: the baseline; None for a mixture of VAEs.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    images, labels = checked_data(configs[0].data, execution)
    precision = configs[0].train.precision if method is None else "float32"
    where = provenance_fields(images, labels, devices.resolve(execution.device), started, precision)
    return [
        Outcome(
            record=Record.model_validate(
                {
                    "fingerprint": name_of(config, method),
                    "config": to_dict(config),
                    "method": method,
                    "status": "failed",
                    "failure": failure,
                    **where,
                }
            )
        )
        for config in configs
    ]


@functools.lru_cache(maxsize=2)
def load_data(data: DataConfig, root: str | None) -> tuple[Images, Labels | None]:
    """Return the images and labels of a data set, cached for the next run.

    Args:
        data: data configuration.
        root: folder of data sets; None for the default.

    Raises:
        DataError: files are missing or invalid.
    """
    place = Path(root) if root else None
    return load_images(data, place), load_labels(data, place)


def checked_data(data: DataConfig, execution: ExecutionConfig) -> tuple[Images, Labels | None]:
    """Return the images and labels of a data set, checked against the driver's.

    Args:
        data: data configuration.
        execution: how runs are executed, with the identities of the driver's data.

    Raises:
        DataError: files are missing or invalid.
        IdentityError: the data differ from the driver's.
    """
    images, labels = load_data(data, execution.data_root)
    if execution.origins:
        try:
            execution.origins.check_data(images.name, identify(images, labels))
        except IdentityError:
            load_data.cache_clear()  # a worker may have read the file before it was replaced
            images, labels = load_data(data, execution.data_root)
            execution.origins.check_data(images.name, identify(images, labels))
    return images, labels


def provenance_fields(
    images: Images, labels: Labels | None, device: torch.device, started: str, precision: str = "float32"
) -> dict[str, Any]:
    """Return the provenance fields of a record.

    Args:
        images: the images.
        labels: the labels, if there are any.
        device: device of the run.
        started: time of the start, in ISO 8601.
        precision: data type of training.
    """
    commit, dirty = provenance.commit()
    return {
        "hardware": Hardware.model_validate(devices.describe(device, precision)),
        "versions": provenance.versions(),
        "commit": commit,
        "dirty": dirty,
        "source": origins.code().source,
        "data": data_of(images, labels),
        "started": started,
    }


def splits(images: Images) -> list[Split]:
    """Return the splits that a record covers."""
    return ["validation", "test"] if len(images.validation) else ["test"]


def result_fields(
    by_split: dict[Split, list[Evaluation]],
    run: int,
    labels: Labels | None,
    experts: int,
    data: DataConfig,
) -> dict[str, Any]:
    """Return the result fields of a record.

    Args:
        by_split: evaluations of all runs, by split.
        run: index of the run.
        labels: the labels, if there are any.
        experts: number of experts.
        data: data configuration.
    """
    test = by_split["test"][run]
    confusion = bins = None
    if labels is not None:
        if len(labels.classes) <= MAX_COUNTED:
            counts = clustering.confusion(test.assignments, labels.test, experts, len(labels.classes))
            confusion = Confusion(classes=list(labels.classes), counts=counts.tolist())
        found = reliability(test, labels, "test", data)
        bins = Reliability(**{name: values.tolist() for name, values in asdict(found).items()})
    return {
        "metrics": {split: run_metrics(each[run], labels, split, data) for split, each in by_split.items()},
        "load": test.load.tolist(),
        "importance": test.importance.tolist(),
        "elbo_terms": {name: values.tolist() for name, values in test.elbo_terms.items()},
        "confusion": confusion,
        "reliability": bins,
    }


def failure_of(
    failure: TrainingFailure | None, by_split: dict[Split, list[Evaluation]], run: int
) -> Failure | None:
    """Return the failure of a run: in training, or by a metric that is not finite.

    Args:
        failure: the failure in training, if any.
        by_split: evaluations of all runs, by split.
        run: index of the run.

    Returns:
        The failure; None if the run is complete.
    """
    if failure:
        return Failure.model_validate(asdict(failure))
    for split, found in by_split.items():
        for name, value in found[run].metrics.items():
            if not math.isfinite(value):
                return Failure(reason=f"{name} on the {split} split became {value}")
    return None


def _picture(name: str, drawn: Drawing) -> Picture:
    return Picture(
        file=_file(name, drawn.kind),
        sha256=hashlib.sha256(drawn.content).hexdigest(),
        rows=drawn.rows,
        columns=drawn.columns,
        experts=drawn.experts,
        method=drawn.method,
        tile=drawn.tile,
    )


def _file(name: str, kind: str) -> str:
    return f"{name}-{kind}.png"


def data_of(images: Images, labels: Labels | None) -> Data:
    """Return what a record says of its data.

    Args:
        images: the images.
        labels: their labels, or None.
    """
    sizes = {split: len(getattr(images, split)) for split in ("train", "validation", "test")}
    found = labels.sha256 if labels else None
    return Data(name=images.name, sha256=images.sha256, labels_sha256=found, size=images.size, **sizes)
