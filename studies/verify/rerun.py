"""Reproduction of runs: train them again from their records and compare the results."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median, stdev
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from moevae.config import overrides
from studies.analysis.metrics import ACC, ELBO, NMI, RETIRED, Measure
from studies.execution.config import ExecutionConfig
from studies.execution.tasks import train
from studies.records.origins import Origins, data_identity
from studies.records.schema import Outcome, Record, name_of
from studies.statistics import stats

VOLATILE_FIELDS = {
    *("throughput", "seconds", "energy_joules"),
    *("hardware", "versions", "commit", "dirty", "source", "started", "migrated_from"),
}
"""Fields of a record that depend on time, machine, code and the record's past, and are not compared."""


COMPARED: dict[str, Measure] = {"mixture_elbo": ELBO, "nmi": NMI, "acc": ACC}
"""Test metrics compared with the spread over seeds when bitwise equality cannot be expected."""
SIGNIFICANCE = 0.01
"""Significance level, per metric, of the test that a run on another machine differs."""


@dataclass(frozen=True)
class MetricShift:
    """A test metric of a run that was repeated on another machine."""

    name: str
    then: float
    now: float
    spread: float | None
    """Standard deviation (ddof = 1) over the seeds of the cell, without outliers; None for fewer than two."""
    n: int
    """Number of these seeds."""
    vacuous: str = ""
    """Reason why the spread cannot be used; empty if it can."""

    @property
    def reach(self) -> float:
        """Difference that two seeds of this spread exceed with probability `SIGNIFICANCE`; NaN if unknown."""
        if self.spread is None:
            return math.nan
        return math.sqrt(2) * self.spread * float(student_t.isf(SIGNIFICANCE / 2, self.n - 1))

    @property
    def is_assessable(self) -> bool:
        """Whether the spread over seeds can detect a wrong value."""
        return self.spread is not None and not self.vacuous

    @property
    def far(self) -> bool:
        """Whether the difference is larger than `reach`; False if the spread cannot be used."""
        return self.is_assessable and abs(self.now - self.then) > self.reach


@dataclass(frozen=True)
class RerunResult:
    """The result of repeating a run."""

    fingerprint: str
    commit: str | None
    """Commit of the code that wrote the record."""
    differ: tuple[str, ...]
    """Paths of the fields that differ, such as `metrics.test.nmi`; empty if all are bitwise equal."""
    elsewhere: str = ""
    """Differences between the machines that affect rounding; empty if there are none."""
    moved: tuple[MetricShift, ...] = ()
    """Changes of metrics on another machine."""

    @property
    def judged(self) -> bool:
        """Whether the result can be judged, by bitwise equality or by the spread over seeds."""
        return not (self.differ and self.moved) or any(each.is_assessable for each in self.moved)

    @property
    def wrong(self) -> bool:
        """Whether the difference is larger than rounding explains."""
        return bool(self.differ) and (not self.moved or any(each.far for each in self.moved))


def chosen(records: Sequence[Record], number: int) -> list[Record]:
    """Return a random sample of complete records.

    Args:
        records: the records.
        number: size of the sample; it is smaller if there are fewer complete records.
    """
    complete = [record for record in records if record.status == "complete"]
    return random.sample(complete, min(number, len(complete)))


def repeat(record: Record, execution: ExecutionConfig, others: Sequence[Record] = ()) -> RerunResult:
    """Train the run of a record again and compare the results.

    On other hardware rounding differs, and training amplifies it: metrics are then compared with the spread
    over seeds.

    Args:
        record: the record of the run.
        execution: where the run takes place.
        others: records of the study, from which the spread over seeds is estimated.

    Raises:
        MoevaeError: see `retrained`.
    """
    drawn = record.pictures.get("map")
    place = replace(execution, map=(drawn and drawn.method) or "pca")
    return compare(record, retrained(record, place).record, others)


def retrained(record: Record, execution: ExecutionConfig) -> Outcome:
    """Train the run of a record again, alone and with the same number of threads.

    The data must equal those of the record, and an automatic device is the kind of device of the record.

    Args:
        record: the record of the run.
        execution: where the run takes place.

    Raises:
        IdentityError: the data differ from those of the record.
        MoevaeError: the data or the device are not available.
    """
    config = overrides.from_dict(record.config)
    # The method as requested, before fitting.
    method = record.method and record.method.model_copy(update={"derived": {}})
    device = record.hardware.device if execution.device == "auto" else execution.device
    data = Origins(files={record.data.name: data_identity(record)})
    place = replace(execution, device=device, threads=record.hardware.threads, origins=data)
    (outcome,) = train([config], on_event=None, execution=place, method=method)
    return outcome


def compare(record: Record, repeated: Record, others: Sequence[Record] = ()) -> RerunResult:
    """Compare a run that was trained again with its record.

    Args:
        record: the record of the run.
        repeated: the record of the repetition.
        others: records of the study, from which the spread over seeds is estimated.
    """
    # Fields that an older record lacks are not compared.
    kept = record.model_dump(mode="json", exclude_unset=True, exclude=VOLATILE_FIELDS)
    found = repeated.model_dump(mode="json")
    elsewhere = " and ".join(_changes(record, repeated))
    moved = tuple(_moved(record, repeated, others)) if elsewhere else ()
    differ = tuple(path for path in differences(kept, found) if path.rpartition(".")[2] not in RETIRED)
    return RerunResult(record.fingerprint, record.commit, differ, elsewhere, moved)


def _changes(then: Record, now: Record) -> Iterator[str]:
    """Yield the differences of hardware, precision and versions that affect rounding."""
    for key in ("device_name", "threads"):
        old, new = getattr(then.hardware, key), getattr(now.hardware, key)
        if old != new:
            yield f"{old}{' threads' * (key == 'threads')} recorded, {new} now"
    together = then.throughput.population if then.throughput else 1
    if together > 1 and (then.precision == "bfloat16" or then.config["train"]["batch_size"] % 16):
        yield f"trained with {together - 1} other runs in {then.precision}, alone now"
    if then.precision != now.precision:
        yield f"{then.precision} recorded, {now.precision} now"
    old, new = then.versions.get("torch"), now.versions.get("torch")
    if old != new:
        yield f"torch {old} recorded, {new} now"


def _moved(then: Record, now: Record, others: Sequence[Record]) -> Iterator[MetricShift]:
    """Yield the changes of metrics of a run that is complete on both machines."""
    if now.status != then.status:
        return
    own = _cell(then)
    cell = [each for each in others if each.status == "complete" and _cell(each) == own]
    before, after = then.metrics.get("test", {}), now.metrics.get("test", {})
    for name, measure in COMPARED.items():
        if name in before and name in after:
            values = [each.metrics["test"][name] for each in cell if name in each.metrics.get("test", {})]
            yield _with_spread(
                MetricShift(name, before[name], after[name], None, len(values)), values, measure
            )


def _with_spread(moved: MetricShift, values: Sequence[float], measure: Measure) -> MetricShift:
    """Return the metric with the spread of the values of its cell, and why it cannot be used, if so."""
    far = stats.outliers(np.array(values)[:, None])[:, 0] if values else np.empty(0, dtype=bool)
    kept = [value for value, out in zip(values, far, strict=True) if not out]
    if len(kept) < 2:
        return moved
    found = replace(moved, spread=stdev(kept), n=len(kept))
    low, high = measure.ends
    extent = high - low if math.isfinite(high - low) else abs(median(kept))
    if moved.then not in kept:
        return replace(found, vacuous="the record is an outlier of its cell")
    if not found.spread:
        return replace(found, vacuous="all seeds have the same value")
    if found.reach >= extent:
        return replace(found, vacuous="the seeds vary so much that any value would pass")
    return found


def _cell(record: Record) -> str:
    """Return a name that all seeds of a cell share."""
    return name_of(replace(overrides.from_dict(record.config), seed=0), record.method)


def differences(kept: Any, found: Any, name: str = "") -> Iterator[str]:
    """Yield the paths of the values that are missing or different.

    Args:
        kept: the expected JSON data.
        found: the JSON data to compare; values that only it has are no difference.
        name: path of the data.
    """
    if isinstance(kept, dict) and isinstance(found, dict):
        for key, value in kept.items():
            yield from differences(value, found.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from differences(one, other, f"{name}.{index}")
    elif kept != found:
        yield name
