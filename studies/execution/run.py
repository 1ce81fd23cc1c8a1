"""Execution of runs: train a population, evaluate it, and create the record of each run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from moevae.config.overrides import fingerprint, to_dict
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels, identify
from moevae.evaluation.all_images import score_all_images
from moevae.evaluation.assign import with_threshold
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.results import Split
from moevae.evaluation.sample_neighbors import sample_neighbors
from moevae.training import checkpoint, snapshot_files, snapshots
from moevae.training.checks import check_population
from moevae.training.population import Population
from moevae.training.results import FitResult
from moevae.utils import devices
from studies.execution.config import ExecutionConfig
from studies.execution.data import checked_data
from studies.execution.events import EvaluationReport, OnEvent
from studies.execution.record_fields import failure_of, provenance_fields, result_fields, splits
from studies.execution.recorder import Drawing, RunRecorder
from studies.records.schema import (
    Curve,
    Outcome,
    Picture,
    Record,
    Seconds,
    Throughput,
)


def run_population(
    configs: Sequence[RunConfig],
    execution: ExecutionConfig | None = None,
    on_event: OnEvent | None = None,
) -> list[Outcome]:
    """Train runs of one shape together and return one outcome per run, in order.

    A run whose loss becomes NaN or infinite is returned as failed; the other runs continue. The number of
    torch's threads is restored at the end; the setting of `devices.keep_freed_memory` remains.

    Args:
        configs: one configuration per run.
        execution: where the runs take place.
        on_event: called after each epoch, and after each block of images of the IWAE bound.

    Raises:
        MoevaeError: the data are invalid, the device is not available, or the configurations are empty or
            have different shapes.
    """
    check_population(configs)
    execution = execution or ExecutionConfig()
    # Returned, so that an idle worker leaves the memory to the others.
    with devices.freed_memory_kept(), devices.cpu_settings(execution.threads):
        return _run(configs, execution, on_event)


def _run(configs: Sequence[RunConfig], execution: ExecutionConfig, on_event: OnEvent | None) -> list[Outcome]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    images, labels = checked_data(configs[0].data, execution)
    recorder = RunRecorder(configs, images, labels, on_event, execution.memory, execution.map)
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
        split: evaluate(
            fit.model,
            configs,
            images,
            split,
            memory=execution.memory,
            on_images=partial(_note_images, on_event, split) if on_event else None,
        )
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
                "curve": Curve.of(recorder.curves[run]),
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


def _note_images(on_event: OnEvent, split: Split, images: int, total: int) -> None:
    on_event(EvaluationReport(split, images, total))


def _weights(fit: FitResult, run: int, images: Images, labels: Labels | None) -> bytes:
    """Return the checkpoint of a run, as `moevae train` writes it."""
    return checkpoint.encode(with_threshold(fit, run, images, labels))


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
