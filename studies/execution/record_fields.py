"""The fields of a record: provenance, results and failure of a run, of a mixture or of a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

from moevae.config.overrides import to_dict
from moevae.config.schema import DataConfig, RunConfig
from moevae.data.classes import MAX_COUNTED
from moevae.data.datasets import Images, Labels
from moevae.evaluation import clustering
from moevae.evaluation.label_metrics import reliability, run_metrics
from moevae.evaluation.results import Evaluation, Split
from moevae.training.results import TrainingFailure
from moevae.utils import devices, provenance
from studies.execution.config import ExecutionConfig
from studies.execution.data import checked_data
from studies.records import origins
from studies.records.schema import (
    Confusion,
    Data,
    Failure,
    Hardware,
    Method,
    Outcome,
    Record,
    Reliability,
    name_of,
)


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


def failed_outcomes(
    configs: Sequence[RunConfig],
    execution: ExecutionConfig,
    failure: Failure,
    method: Method | None = None,
    started: str | None = None,
) -> list[Outcome]:
    """Return the outcomes, in order, of runs that failed, with the hardware of this machine.

    Args:
        configs: configurations of the runs.
        execution: how runs are executed.
        failure: the failure of all runs.
        method: the baseline; None for a mixture of VAEs.
        started: when the runs began, in ISO 8601; None if it is not known: now.
    """
    started = started or datetime.now(UTC).isoformat(timespec="seconds")
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


def data_of(images: Images, labels: Labels | None) -> Data:
    """Return what a record contains about its data.

    Args:
        images: the images.
        labels: their labels, or None.
    """
    sizes = {split: len(getattr(images, split)) for split in ("train", "validation", "test")}
    found = labels.sha256 if labels else None
    return Data(name=images.name, sha256=images.sha256, labels_sha256=found, size=images.size, **sizes)
