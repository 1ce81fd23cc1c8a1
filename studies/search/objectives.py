"""Objectives of a search: metrics of the validation split, named after the selection rules of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name
from studies.records.schema import Record

ORACLE = "oracle"
"""The mark of a selection that uses labels, which is not possible without them."""


@dataclass(frozen=True)
class SearchObjective:
    """A metric to maximize or to minimize."""

    name: str
    """A metric of the validation split, or `throughput`."""
    rule: str
    """The selection rule that it corresponds to."""
    label: str
    unit: str = ""
    direction: Literal["maximize", "minimize"] = "maximize"
    oracle: bool = False
    """Whether it uses labels."""

    @property
    def heading(self) -> str:
        """The label with the unit, the split and the oracle mark."""
        split = "" if self.name == SPEED else "validation"
        notes = ", ".join(part for part in (self.unit, split, ORACLE if self.oracle else "") if part)
        return f"{self.label} ({notes})"

    @property
    def by_epoch(self) -> bool:
        """Whether it is known after each epoch. Estimates with many samples of z are made at the end only."""
        return self.name not in (SPEED, "marginal_elbo")

    def of(self, records: Sequence[Record]) -> float | None:
        """Return the mean over complete runs; None if a run lacks the metric."""
        values = [self._of_run(record) for record in records]
        there = [value for value in values if value is not None]
        return fmean(there) if there and len(there) == len(values) else None

    def at_epoch(self, metrics: Mapping[str, float]) -> float | None:
        """Return the value after an epoch, from the metrics of the validation split."""
        return metrics.get(self.name)

    def _of_run(self, record: Record) -> float | None:
        if self.name == SPEED:
            return record.throughput.train_images_per_second if record.throughput else None
        return record.metrics.get("validation", {}).get(self.name)


NATS = "nats per image"
SPEED = "throughput"

OBJECTIVES = {
    objective.name: objective
    for objective in (
        SearchObjective("mixture_elbo", "final bound", "mixture ELBO", NATS),
        SearchObjective("marginal_elbo", "marginal bound", "marginal ELBO", NATS),
        SearchObjective("mutual_information", "mutual information", "mutual information", "nats"),
        SearchObjective("effective_experts", "effective experts", "effective experts"),
        SearchObjective(SPEED, "training speed", "training speed", "images/s"),
        SearchObjective("nmi", f"{ORACLE} choice by NMI", "NMI", oracle=True),
        SearchObjective("ari", f"{ORACLE} choice by ARI", "ARI", oracle=True),
        SearchObjective("acc", f"{ORACLE} choice by ACC", "ACC", oracle=True),
    )
}


def parse(text: str) -> tuple[SearchObjective, ...]:
    """Return the objectives in a text such as "mixture_elbo" or "mixture_elbo,nmi,throughput".

    Raises:
        ConfigError: an objective is unknown (the message names the nearest), or is given twice.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        closest_name("objective", name, OBJECTIVES)
        if names.count(name) > 1:
            raise ConfigError(f"--objective {text}: {name} is given twice")
    return tuple(OBJECTIVES[name] for name in names)


def describe_objectives(objectives: Sequence[SearchObjective], values: Sequence[float]) -> str:
    """Return values with their labels, such as `mixture ELBO -18.02, NMI 0.7123 (oracle)`."""
    pairs = zip(objectives, values, strict=True)
    return ", ".join(f"{each.label} {_shown(value)}{f' ({ORACLE})' * each.oracle}" for each, value in pairs)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
