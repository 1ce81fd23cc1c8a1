"""Fitting a baseline: what it is given, what it gives back, and the record that comes of it."""

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
from moevae.evaluation.evaluate import Evaluation, Split, usage
from moevae.training.trainer import EpochStats
from moevae.utils import devices
from studies.design.baselines import of_method
from studies.execution import run
from studies.execution.config import ExecutionConfig
from studies.execution.events import EpochReport
from studies.records.schema import Failure, Method, Outcome, Record, Seconds, Throughput, name_of

_CPU = torch.device("cpu")


class NotFittedError(Exception):
    """A method that cannot be fitted to the images it was given; the reason stands in the record."""

    def __init__(self, reason: str, epoch: int | None = None, step: int | None = None) -> None:
        super().__init__(reason)
        self.failure = Failure(reason=reason, epoch=epoch, step=step)


@dataclass(frozen=True)
class BaselineContext:
    """What a baseline may look at."""

    config: RunConfig
    """The reference cell's, with the data and the seed of this run."""
    images: Images
    labels: Labels | None
    """None for all but oracles."""
    device: torch.device
    settings: Mapping[str, Any]
    """Of the method."""
    on_epoch: Callable[[EpochReport], None] | None = None
    memory: int | None = None
    """Bytes that a look of evaluation may take."""

    def note(self, progress: EpochStats) -> None:
        """Tell who listens that an epoch is over."""
        if self.on_epoch:
            self.on_epoch(EpochReport(progress.epoch, progress.epochs, progress.losses, {}))

    def random_state(self, purpose: str) -> np.random.RandomState:
        """Return NumPy's legacy generator at the start of a stream of the run's seed."""
        seeds = np.random.SeedSequence([self.config.seed, zlib.crc32(purpose.encode())])
        return np.random.RandomState(np.random.MT19937(seeds))


@dataclass(frozen=True)
class BaselineResult:
    """A baseline that was fitted."""

    measure: Callable[[Split], Evaluation]
    """What it is worth on a split; metrics that the method does not have are not there."""
    seconds: float
    """Wall time of fitting."""
    looks: int
    """Training images looked at, every look counted."""
    num_experts: int
    """Experts or clusters."""
    device: torch.device = _CPU
    precision: str = "float32"
    """That was trained in."""
    derived: dict[str, Any] = field(default_factory=dict)


def fit(
    method: Method,
    config: RunConfig,
    site: ExecutionConfig,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Outcome:
    """Fit a baseline and return what it left, in the format of the model's own runs.

    Raises:
        MoevaeError: bad data, or a device that is not there.
    """
    function = pkgutil.resolve_name(of_method(method).function)
    # NumPy and scikit-learn, loaded by now, have threads of their own, which change late digits.
    devices.keep_freed_memory()
    with threadpool_limits(site.threads), devices.steady_cpu(site.threads):
        return _fit(function, method, config, site, on_epoch)


def _fit(
    function: Callable[[BaselineContext], BaselineResult],
    method: Method,
    config: RunConfig,
    site: ExecutionConfig,
    on_epoch: Callable[[EpochReport], None] | None,
) -> Outcome:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    images, labels = run.site_data(config.data, site)
    seen = labels if method.oracle else None
    device = devices.resolve(site.device)
    try:
        fitted = function(
            BaselineContext(config, images, seen, device, method.settings, on_epoch, site.memory)
        )
    except NotFittedError as error:
        return run.failed_outcomes([config], site, error.failure, method)[0]
    begin = time.perf_counter()
    by_split = {split: [fitted.measure(split)] for split in run.splits(images)}
    seconds = time.perf_counter() - begin
    failure = run.failure_of(None, by_split, 0)
    record = {
        "fingerprint": name_of(config, method),
        "config": to_dict(config),
        "method": method.model_copy(update={"derived": fitted.derived}),
        "status": "failed" if failure else "complete",
        "failure": failure,
        "throughput": Throughput(
            train_images_per_second=fitted.looks / fitted.seconds,
            evaluation_images_per_second=sum(len(getattr(images, split)) for split in by_split) / seconds,
            population=1,
        ),
        "seconds": Seconds(train=fitted.seconds, evaluation=seconds),
        **({} if failure else run.measured(by_split, 0, labels, fitted.num_experts, config.data)),
        **run.origin(images, labels, fitted.device, started, fitted.precision),
    }
    return Outcome(record=Record.model_validate(record))


def clusters(probs: np.ndarray, bounds: dict[str, float] | None = None) -> Evaluation:
    """Return the evaluation of clusters as if they were experts.

    Args:
        probs: how likely each image is of each cluster, [N, K]; one-hot where the method does not say.
        bounds: in nats per image, where the method has any.
    """
    assignments = probs.argmax(1)
    load = np.bincount(assignments, minlength=probs.shape[1]) / len(probs)
    metrics = (bounds or {}) | usage(load)
    return Evaluation(metrics, load, probs.mean(0), probs.T, assignments, assignments)


def one_hot(assignments: np.ndarray, num_experts: int) -> np.ndarray:
    """Return assignments [N] as probabilities, [N, K]."""
    return np.eye(num_experts)[assignments]
