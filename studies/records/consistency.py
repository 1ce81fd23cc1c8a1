"""Consistency checks of a record that its schema cannot express: shapes of tables, and names."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from moevae.config.schema import RunConfig

if TYPE_CHECKING:
    from studies.records.schema import Record

_NAME = re.compile(r"\w+")
_DIGITS = b"0123456789"
_MARKS = bytes(ord("0") if byte in _DIGITS else ord(",") for byte in range(256))
"""Translation of counts and separators to `0` and `,`."""
_TOO_LONG = b"0" * 16


def problems(record: Record, config: RunConfig) -> Iterator[str]:
    """Yield the contradictions within a record, or between a record and its configuration.

    Args:
        record: the record.
        config: its configuration.
    """
    yield from _metrics(record)
    yield from _tables(record, config)
    yield from _curve(record)


def _metrics(record: Record) -> Iterator[str]:
    if record.status == "complete" and not record.metrics.get("test"):
        yield "a complete run without metrics of the test split"
    names = set(record.metrics).union(record.curve.metrics, *record.metrics.values())
    if odd := _odd(frozenset(names)):
        yield f"invalid name of a metric: {odd[0]!r}"


@functools.lru_cache
def _odd(names: frozenset[str]) -> list[str]:
    return [name for name in names if not _NAME.fullmatch(name)]


def _tables(record: Record, config: RunConfig) -> Iterator[str]:
    rows = {"load": len(record.load), "importance": len(record.importance)}
    rows |= {f"elbo_terms.{name}": len(values) for name, values in record.elbo_terms.items()}
    if record.confusion is not None:
        rows["confusion"] = len(record.confusion.counts)
    # The number of clusters of a baseline may differ.
    experts = config.model.num_experts if record.method is None else max(rows.values())
    if wrong := [name for name, count in rows.items() if count not in (0, experts)]:
        yield f"{wrong[0]} has {rows[wrong[0]]} rows, expected {experts}"
    if record.confusion is not None:
        classes, counts = record.confusion.classes, record.confusion.counts
        if not classes or not counts or any(len(row) != len(classes) for row in counts):
            yield f"confusion is not a table with {len(classes)} columns"
    bins = record.reliability
    if bins is not None and not len(bins.images) == len(bins.confidence) == len(bins.accuracy) > 0:
        yield "reliability has columns of different lengths"


def _curve(record: Record) -> Iterator[str]:
    curve = record.curve
    epochs = curve.epoch
    if any(epoch >= later for epoch, later in itertools.pairwise(epochs)):
        yield "the epochs of curve do not increase"
    rows = {"loss": len(curve.loss), "temperature": len(curve.temperature)}
    rows |= {f"metrics.{name}": len(values) for name, values in curve.metrics.items()}
    rows |= {"confusion": len(curve.confusion)} if curve.confusion else {}
    if wrong := [name for name, count in rows.items() if count != len(epochs)]:
        yield f"curve.{wrong[0]} has {rows[wrong[0]]} values, expected {len(epochs)}"
    tables = [table for table in curve.confusion if table]
    if not tables:
        return
    experts = tables[0].split(";")
    classes = len(record.confusion.classes) if record.confusion is not None else experts[0].count(" ") + 1
    text = "\n".join(tables).encode(errors="replace")
    # Without the digits, only the separators remain, which are the same in all tables.
    table = b";".join([b" " * (classes - 1)] * len(experts))
    if text.translate(None, _DIGITS) != b"\n".join([table] * len(tables)):
        yield "a confusion of curve is not a table"
    marks = b"," + text.translate(_MARKS) + b","
    if b",," in marks or _TOO_LONG in marks:
        yield "a confusion of curve has invalid counts"
