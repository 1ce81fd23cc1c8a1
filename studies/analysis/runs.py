"""The runs of a study: those of its cells, and those of baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from studies.records.schema import Record
from studies.utils.formatting import show


@dataclass(frozen=True)
class StudyRun:
    """A run, with the content of its record that reports need.

    Examples:
        >>> import studies
        >>> run = studies.load_study("results/objective").runs[0]
        >>> run.complete, 0 <= run.metrics["test.nmi"] < 1
        (True, True)
    """

    record: Record
    cell: int
    """Index into `Study.cells`; -1 for a run of a baseline."""
    seed: int
    metrics: Mapping[str, float]
    """Metrics by `split.metric`, `load.*`, `throughput.*` and `seconds.*`; empty if the run failed."""
    curve: Mapping[str, np.ndarray]
    """Curves by name, [epochs] each; `epoch` holds the epoch numbers."""

    @cached_property
    def likelihood(self) -> str:
        """Likelihood model; bounds are comparable only between runs of the same likelihood."""
        model, data = self.record.config["model"], self.record.config["data"]
        pixels = "gray" if data["binarization"] == "none" else "binarized"
        gaussian = model["likelihood"] == "gaussian"
        kind = f"Gaussian (std {show(model['gaussian_std'])})" if gaussian else "Bernoulli"
        return f"{kind} on {pixels} pixels"

    @property
    def held_out(self) -> tuple[object, ...]:
        """Identity of the validation split; validation bounds are comparable only on the same images."""
        data = self.record.config["data"]
        return data["name"], data["split_seed"], data["imbalance"], self.record.data.validation

    @property
    def tested_on(self) -> tuple[object, ...]:
        """Identity of the test images and their binarization; bounds are comparable only if it is equal."""
        data = self.record.config["data"]
        return data["name"], data["split_seed"]

    @property
    def iwae_estimate(self) -> tuple[object, ...] | None:
        """Identity of the samples and images of the IWAE bound; None if it was not measured."""
        if "test.iwae_bound" not in self.metrics:
            return None
        asked = self.record.config["evaluation"]
        return asked["iwae_samples"], asked["iwae_images"], asked["iwae_experts"]

    @property
    def objective(self) -> tuple[object, ...]:
        """Identity of the training objective and images; losses are comparable only if it is the same."""
        config, data = self.record.config, self.record.data
        terms = tuple(sorted((name, str(value)) for name, value in config["objective"].items()))
        binarization, samples = config["data"]["binarization"], config["train"].get("num_samples")
        return self.likelihood, binarization, terms, samples, self.held_out, data.train

    @property
    def core_minutes(self) -> tuple[float, float] | None:
        """Time of training and of evaluation in minutes of a core; None for a run on a GPU, or without times.

        The training time of a mixture is its images divided by the speed of its population; the clock of a
        resumed run would start when it was resumed.
        """
        record = self.record
        if record.hardware.device != "cpu" or record.throughput is None or record.seconds is None:
            return None
        train = record.seconds.train
        if record.method is None:
            schedule = record.run_config.train
            seen = record.data.train * schedule.passes(record.data.train) * schedule.epochs
            train = seen / record.throughput.train_images_per_second
        evaluation = record.seconds.evaluation / record.throughput.population
        return train * record.hardware.threads / 60, evaluation * record.hardware.threads / 60

    @property
    def complete(self) -> bool:
        """Whether the run ended successfully and has metrics."""
        return self.record.status == "complete"


@dataclass(frozen=True)
class BaselineRuns:
    """A baseline: another method, fitted to the same data with the same seeds."""

    name: str
    """Ends with `(oracle)` if the method uses labels."""
    runs: tuple[StudyRun, ...]

    @property
    def seeds(self) -> set[int]:
        """Seeds that have a record."""
        return {run.seed for run in self.runs}

    def is_a(self, name: str) -> bool:
        """Return whether this is a method, with any settings.

        Args:
            name: name of the method.
        """
        method = self.runs[0].record.method
        return method is not None and name in (method.name, f"{method.name} (oracle)")

    def on(self, data: str) -> BaselineRuns:
        """Return the baseline with only its runs on one data set.

        Args:
            data: name of the data set.
        """
        kept = (run for run in self.runs if run.record.config["data"]["name"] == data)
        return replace(self, runs=tuple(kept))


def median_minutes(runs: Sequence[StudyRun]) -> tuple[float, float] | None:
    """Return the median times of training and of evaluation in minutes of a core.

    Args:
        runs: complete runs of a cell or of a baseline.

    Returns:
        The medians; None without runs, or if the time of some run is not known; see `StudyRun.core_minutes`.
    """
    times = [found for run in runs if (found := run.core_minutes) is not None]
    if not times or len(times) < len(runs):
        return None
    train, evaluation = np.median(times, axis=0)
    return float(train), float(evaluation)
