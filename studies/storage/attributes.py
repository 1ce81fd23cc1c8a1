"""Attributes, values and learning curves of a trial, from the records of its cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from studies.records.schema import Record

VALUE = "mixture_elbo"
"""The metric that is the value of a trial: a bound that uses no labels; higher is better."""


def of_cell(recorded: Sequence[Record]) -> dict[str, Any]:
    """Return the attributes of a trial: the number and names of its runs, and statistics of test metrics.

    Args:
        recorded: records of the runs of the trial.
    """
    complete = [record for record in recorded if record.status == "complete"]
    attributes: dict[str, Any] = {
        "n": len(complete),
        "failed": len(recorded) - len(complete),
        "seeds": sorted(record.config["seed"] for record in complete),
        "runs": runs(recorded),
    }
    for name, values in metrics(complete, "test").items():
        attributes[name] = fmean(values)
        if len(values) > 1:
            attributes[f"{name} (std)"] = stdev(values)
    return attributes


def runs(recorded: Iterable[Record]) -> list[str]:
    """Return the runs of a trial with their status."""
    return sorted(f"{record.fingerprint} {record.status}" for record in recorded)


def metrics(records: Iterable[Record], split: str) -> dict[str, list[float]]:
    """Return the values of each metric of a split, one per run that has it.

    Args:
        records: records of runs.
        split: name of the split.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for name, value in record.metrics.get(split, {}).items():
            values[name].append(value)
    return values


def curve(records: Iterable[Record], metric: str = VALUE) -> dict[int, float]:
    """Return the mean of a validation metric over runs, by epoch.

    Args:
        records: records of runs.
        metric: name of the metric.
    """
    points: dict[int, list[float]] = defaultdict(list)
    for record in records:
        found = record.curve.metrics.get(metric, ())
        for epoch, value in zip(record.curve.epoch, found, strict=False):
            if value is not None:
                points[epoch].append(value)
    return {epoch: fmean(values) for epoch, values in sorted(points.items())}
