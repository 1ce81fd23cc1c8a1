"""Objectives of a search: metrics of the validation split, named after the selection rules of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from moevae.config.registry import METRICS
from moevae.errors import ConfigError
from studies.records.schema import Record
from studies.search.registry import OBJECTIVES

ORACLE = "oracle"
"""The mark of a selection that uses labels, which is not possible without them."""


@dataclass(frozen=True)
class SearchObjective:
    """A metric to maximize or to minimize."""

    name: str
    """A metric of the catalogue, `moevae.evaluation.metrics`."""
    rule: str
    """The selection rule that it corresponds to."""
    label: str
    """Name in headings; metrics have a shorter one in tables."""
    unit: str = ""
    direction: Literal["maximize", "minimize"] = "maximize"
    by_epoch: bool = True
    """Whether it is known after each epoch. Estimates with many samples of z are made at the end only."""

    @property
    def oracle(self) -> bool:
        """Whether it uses labels."""
        return METRICS[self.name].labels

    @property
    def heading(self) -> str:
        """The label with the unit, the split and the oracle mark."""
        split = "" if METRICS[self.name].key else "validation"
        notes = ", ".join(part for part in (self.unit, split, ORACLE if self.oracle else "") if part)
        return f"{self.label} ({notes})"

    def of(self, records: Sequence[Record]) -> float | None:
        """Return the mean of the objective over complete runs; None if a run lacks the metric.

        Args:
            records: records of the runs of a trial.
        """
        values = [self._of_run(record) for record in records]
        there = [value for value in values if value is not None]
        return fmean(there) if there and len(there) == len(values) else None

    def at_epoch(self, metrics: Mapping[str, float]) -> float | None:
        """Return the value of the objective after an epoch; None if it is not known during training.

        Args:
            metrics: metrics of the validation split, by name.
        """
        return metrics.get(self.name)

    def _of_run(self, record: Record) -> float | None:
        if METRICS[self.name].key:
            return record.throughput.train_images_per_second if record.throughput else None
        return record.metrics.get("validation", {}).get(self.name)


def _objective(name: str, rule: str, unit: str = "", **options: Any) -> SearchObjective:
    """Return the objective of a metric, named and directed as in the catalogue."""
    metric = METRICS[name]
    label = options.pop("label", metric.label)
    direction: Literal["maximize", "minimize"] = "minimize" if metric.better < 0 else "maximize"
    return SearchObjective(name, rule, label, unit, direction, **options)


_NATS = "nats per image"

OBJECTIVES.register("mixture_elbo")(_objective("mixture_elbo", "final bound", _NATS, label="mixture ELBO"))
OBJECTIVES.register("marginal_elbo")(_objective("marginal_elbo", "marginal bound", _NATS, by_epoch=False))
OBJECTIVES.register("mutual_information")(_objective("mutual_information", "mutual information", "nats"))
OBJECTIVES.register("effective_experts")(_objective("effective_experts", "effective experts"))
OBJECTIVES.register("throughput")(_objective("throughput", "training speed", "images/s", by_epoch=False))
OBJECTIVES.register("nmi")(_objective("nmi", f"{ORACLE} choice by NMI"))
OBJECTIVES.register("ari")(_objective("ari", f"{ORACLE} choice by ARI"))
OBJECTIVES.register("acc")(_objective("acc", f"{ORACLE} choice by ACC"))


def parse(text: str) -> tuple[SearchObjective, ...]:
    """Return the objectives in a text such as "mixture_elbo" or "mixture_elbo,nmi,throughput".

    Args:
        text: names of metrics, joined by commas.

    Raises:
        ConfigError: an objective is unknown (the message names the nearest), or is given twice.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        OBJECTIVES.find(name)
        if names.count(name) > 1:
            raise ConfigError(f"--objective {text}: {name} is given twice")
    return tuple(OBJECTIVES[name] for name in names)


def describe_objectives(objectives: Sequence[SearchObjective], values: Sequence[float]) -> str:
    """Return values with their labels, such as `mixture ELBO -18.02, NMI 0.7123 (oracle)`.

    Args:
        objectives: the objectives.
        values: the value of each.
    """
    pairs = zip(objectives, values, strict=True)
    return ", ".join(f"{each.label} {_shown(value)}{f' ({ORACLE})' * each.oracle}" for each, value in pairs)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
