"""Runs trained anew from their records, and whether the same came of it."""

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
from studies.analysis import stats
from studies.analysis.metrics import ACC, ELBO, NMI, RETIRED, Measure
from studies.execution.config import ExecutionConfig
from studies.execution.tasks import train
from studies.records.origins import Origins, of_record
from studies.records.schema import Record, name_of

VOLATILE_FIELDS = {
    *("throughput", "seconds", "energy_joules"),
    *("hardware", "versions", "commit", "dirty", "source", "started"),
}
"""What a record says of clock, place and code, and not of its run."""


COMPARED: dict[str, Measure] = {"mixture_elbo": ELBO, "nmi": NMI, "acc": ACC}
"""Test metrics that are held against the spread of seeds where bits cannot be the same."""
CHANCE = 0.01
"""How seldom, a metric, another seed may lie as far away before a run on another machine counts as wrong."""


@dataclass(frozen=True)
class MetricShift:
    """A test metric on another machine."""

    name: str
    then: float
    now: float
    spread: float | None
    """Standard deviation over the seeds of its cell (ddof = 1) without outliers; None for fewer than two."""
    n: int
    """Those seeds."""
    vacuous: str = ""
    """Why the spread cannot judge; nothing where it can."""

    @property
    def reach(self) -> float:
        """How far apart two seeds of that spread lie, but for a share of `CHANCE`; NaN where not known."""
        if self.spread is None:
            return math.nan
        return math.sqrt(2) * self.spread * float(student_t.isf(CHANCE / 2, self.n - 1))

    @property
    def judges(self) -> bool:
        """Whether the spread of seeds can tell a wrong number from a right one."""
        return self.spread is not None and not self.vacuous

    @property
    def far(self) -> bool:
        """Whether two seeds of that spread would hardly lie as far apart; never where that cannot be told."""
        return self.judges and abs(self.now - self.then) > self.reach


@dataclass(frozen=True)
class RerunResult:
    """A run that was trained again."""

    fingerprint: str
    commit: str | None
    """Of the code that wrote the record."""
    differ: tuple[str, ...]
    """What came out otherwise, such as `metrics.test.nmi`; nothing if the record is repeated bit for bit."""
    elsewhere: str = ""
    """How this machine is another than the record's, which rounds otherwise; nothing where it is not."""
    moved: tuple[MetricShift, ...] = ()
    """Elsewhere, how far metrics moved."""

    @property
    def judged(self) -> bool:
        """Whether there is something to judge by: the same bits asked for, or a spread of seeds."""
        return not (self.differ and self.moved) or any(each.judges for each in self.moved)

    @property
    def wrong(self) -> bool:
        """Whether it came out otherwise than rounding explains."""
        return bool(self.differ) and (not self.moved or any(each.far for each in self.moved))


def chosen(records: Sequence[Record], number: int) -> list[Record]:
    """Return that many of the complete records, or all there are, by lot."""
    complete = [record for record in records if record.status == "complete"]
    return random.sample(complete, min(number, len(complete)))


def repeat(record: Record, site: ExecutionConfig, others: Sequence[Record] = ()) -> RerunResult:
    """Train a record's run again, alone and with as many threads, and compare all that it keeps.

    On the record's own data, and on its own kind of device, where the site leaves it open. Another machine
    rounds otherwise, and training makes much of that: there metrics are held against the spread of the seeds
    among `others`.

    Raises:
        IdentityError: the data are not those of the record.
        MoevaeError: no such data, or no such device.
    """
    config = overrides.from_dict(record.config)
    method = record.method and record.method.model_copy(update={"derived": {}})  # as it was asked for
    device = record.hardware.device if site.device == "auto" else site.device
    data = Origins(files={record.data.name: of_record(record)})
    place = replace(site, device=device, threads=record.hardware.threads, origins=data)
    (outcome,) = train([config], on_epoch=None, site=place, method=method)
    # What a later version keeps beside it is not held against an older record.
    kept = record.model_dump(mode="json", exclude_unset=True, exclude=VOLATILE_FIELDS)
    found = outcome.record.model_dump(mode="json")
    elsewhere = " and ".join(_changes(record, outcome.record))
    moved = tuple(_moved(record, outcome.record, others)) if elsewhere else ()
    differ = tuple(path for path in differences(kept, found) if path.rpartition(".")[2] not in RETIRED)
    return RerunResult(record.fingerprint, record.commit, differ, elsewhere, moved)


def _changes(then: Record, now: Record) -> Iterator[str]:
    """Tell what decides rounding and is another than it was."""
    for key in ("device_name", "threads"):
        old, new = getattr(then.hardware, key), getattr(now.hardware, key)
        if old != new:
            yield f"{old}{' threads' * (key == 'threads')} recorded, {new} now"
    if then.precision != now.precision:
        yield f"{then.precision} recorded, {now.precision} now"
    old, new = then.versions.get("torch"), now.versions.get("torch")
    if old != new:
        yield f"torch {old} recorded, {new} now"


def _moved(then: Record, now: Record, others: Sequence[Record]) -> Iterator[MetricShift]:
    """Compare the metrics of a run on two machines, where it is complete on both."""
    if now.status != then.status:
        return
    own = _cell(then)
    cell = [each for each in others if each.status == "complete" and _cell(each) == own]
    before, after = then.metrics.get("test", {}), now.metrics.get("test", {})
    for name, measure in COMPARED.items():
        if name in before and name in after:
            values = [each.metrics["test"][name] for each in cell if name in each.metrics.get("test", {})]
            yield _judged(MetricShift(name, before[name], after[name], None, len(values)), values, measure)


def _judged(moved: MetricShift, values: Sequence[float], measure: Measure) -> MetricShift:
    """Return the metric with the spread of the cell's values, and whether that can judge anything."""
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
    """Return what is the same for all seeds of a cell."""
    return name_of(replace(overrides.from_dict(record.config), seed=0), record.method)


def differences(kept: Any, found: Any, name: str = "") -> Iterator[str]:
    """Name what `kept` holds and `found` does not hold as it is, by its path."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for key, value in kept.items():
            yield from differences(value, found.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from differences(one, other, f"{name}.{index}")
    elif kept != found:
        yield name
