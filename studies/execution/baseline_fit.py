"""Fitting of baselines: the context of a baseline, its result, and its record."""

from __future__ import annotations

import pkgutil
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from moevae.config.overrides import to_dict
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels
from moevae.evaluation.results import Evaluation, Split, expert_usage
from moevae.training.results import EpochStats
from moevae.utils import devices
from studies.design.baselines import of_method
from studies.execution import record_fields
from studies.execution.config import ExecutionConfig
from studies.execution.data import checked_data
from studies.execution.events import EpochReport, OnEvent
from studies.records.schema import Failure, Method, Outcome, Record, Seconds, Throughput, name_of

_CPU = torch.device("cpu")


class NotFittedError(Exception):
    """Raised when a method cannot be fitted to the given images; the record stores the reason."""

    def __init__(self, reason: str, epoch: int | None = None, step: int | None = None) -> None:
        super().__init__(reason)
        self.failure = Failure(reason=reason, epoch=epoch, step=step)


@dataclass(frozen=True)
class BaselineContext:
    """The inputs of a baseline."""

    config: RunConfig
    """The configuration of the reference cell, with the data and the seed of this run."""
    images: Images
    labels: Labels | None
    """The labels, given to oracles only."""
    device: torch.device
    settings: Mapping[str, Any]
    """The settings of the method."""
    on_event: OnEvent | None = None
    memory: int | None = None
    """Memory limit, in bytes, for one forward pass of evaluation."""

    def note(self, progress: EpochStats) -> None:
        """Report the end of an epoch to the listener.

        Args:
            progress: statistics of the epoch.
        """
        if self.on_event:
            self.on_event(EpochReport(progress.epoch, progress.epochs, progress.losses, {}))

    def random_state(self, purpose: str) -> np.random.RandomState:
        """Return NumPy's legacy generator for a random stream of the run.

        Args:
            purpose: name of the stream; the seed of the generator depends on it and on the run's seed.
        """
        seeds = np.random.SeedSequence([self.config.seed, zlib.crc32(purpose.encode())])
        return np.random.RandomState(np.random.MT19937(seeds))


@dataclass(frozen=True)
class BaselineResult:
    """The result of fitting a baseline."""

    measure: Callable[[Split], Evaluation]
    """Evaluates the method on a split. Metrics that the method does not define are omitted."""
    seconds: float
    """Wall time of the fit."""
    num_images: int
    """Number of training images processed, counting repetitions."""
    num_experts: int
    """Number of experts or clusters."""
    device: torch.device = _CPU
    precision: str = "float32"
    """The floating-point precision of training."""
    derived: dict[str, Any] = field(default_factory=dict)


def fit(
    method: Method,
    config: RunConfig,
    execution: ExecutionConfig,
    on_event: OnEvent | None = None,
) -> Outcome:
    """Fit a baseline and return its outcome, in the format of the model's own runs.

    Args:
        method: the baseline and its settings.
        config: the configuration of the reference cell, with the data and the seed of this run.
        execution: where the run takes place.
        on_event: called after each epoch.

    Raises:
        MoevaeError: the data are invalid, or the device is not available.
    """
    function = pkgutil.resolve_name(of_method(method).function)
    # NumPy and scikit-learn use thread pools of their own; their size changes the last digits.
    limits = threadpool_limits(execution.threads)
    with devices.freed_memory_kept(), limits, devices.cpu_settings(execution.threads):
        return _fit(function, method, config, execution, on_event)


def _fit(
    function: Callable[[BaselineContext], BaselineResult],
    method: Method,
    config: RunConfig,
    execution: ExecutionConfig,
    on_event: OnEvent | None,
) -> Outcome:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    images, labels = checked_data(config.data, execution)
    seen = labels if method.oracle else None
    device = devices.resolve(execution.device)
    try:
        fitted = function(
            BaselineContext(config, images, seen, device, method.settings, on_event, execution.memory)
        )
    except NotFittedError as error:
        return record_fields.failed_outcomes([config], execution, error.failure, method, started)[0]
    begin = time.perf_counter()
    by_split = {split: [fitted.measure(split)] for split in record_fields.splits(images)}
    seconds = time.perf_counter() - begin
    failure = record_fields.failure_of(None, by_split, 0)
    record = {
        "fingerprint": name_of(config, method),
        "config": to_dict(config),
        "method": method.model_copy(update={"derived": fitted.derived}),
        "status": "failed" if failure else "complete",
        "failure": failure,
        "throughput": Throughput(
            train_images_per_second=fitted.num_images / fitted.seconds,
            evaluation_images_per_second=sum(len(getattr(images, split)) for split in by_split) / seconds,
            population=1,
        ),
        "seconds": Seconds(train=fitted.seconds, evaluation=seconds),
        **(
            {}
            if failure
            else record_fields.result_fields(by_split, 0, labels, fitted.num_experts, config.data)
        ),
        **record_fields.provenance_fields(images, labels, fitted.device, started, fitted.precision),
    }
    return Outcome(record=Record.model_validate(record))


def clusters(probs: np.ndarray, bounds: dict[str, float] | None = None) -> Evaluation:
    """Return the evaluation of clusters, treated as experts.

    Args:
        probs: probability of each cluster, [N, K]; one-hot for methods without probabilities.
        bounds: bounds by name, in nats per image, for methods that have any.
    """
    assignments = probs.argmax(1)
    load = np.bincount(assignments, minlength=probs.shape[1]) / len(probs)
    metrics = (bounds or {}) | expert_usage(load)
    return Evaluation(metrics, load, probs.mean(0), probs.T, assignments, assignments)


def one_hot(assignments: np.ndarray, num_experts: int) -> np.ndarray:
    """Return one-hot probabilities, [N, K], of assignments, [N].

    Args:
        assignments: cluster of each image, [N].
        num_experts: number of clusters, K.
    """
    return np.eye(num_experts)[assignments]
