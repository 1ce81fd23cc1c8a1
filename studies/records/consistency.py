"""Consistency checks of a record that its schema cannot express: shapes of tables, and names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from moevae.config.schema import RunConfig

if TYPE_CHECKING:
    from studies.records.schema import Record

_NAME = re.compile(r"\w+")
_COUNT = re.compile(r"\d{1,15}")
_DIGITS = 16
"""Digits of the smallest count that is too large."""
_LONG = re.compile(rf"[0-9]{{{_DIGITS}}}")


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
    every = [*record.metrics.values(), *(point.metrics for point in record.curve)]
    names = record.metrics.keys() | set().union(*{tuple(part) for part in every})
    if odd := next((name for name in names if not _NAME.fullmatch(name)), None):
        yield f"invalid name of a metric: {odd!r}"


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
    epochs = [point.epoch for point in record.curve]
    if epochs != sorted({*epochs}):
        yield "the epochs of curve do not increase"
    if _plain_tables(record):
        return
    tables = [[text.split() for text in point.confusion] for point in record.curve if point.confusion]
    wide = {len(row) for table in tables for row in table}
    wide |= {len(record.confusion.classes)} if record.confusion is not None and tables else set()
    if len(wide) > 1 or len({len(table) for table in tables}) > 1:
        yield "a confusion of curve is not a table"
    if not all(_COUNT.fullmatch(text) for table in tables for row in table for text in row):
        yield "a confusion of curve has invalid counts"


def _plain_tables(record: Record) -> bool:
    """Return whether the confusions of the curve are valid in the usual format: a fast sufficient check.

    The usual format has ASCII digits and one space between counts. Other formats may be valid, too.
    """
    tables = [point.confusion for point in record.curve if point.confusion]
    rows = list(itertools.chain.from_iterable(tables))
    if not rows:
        return True
    wide = rows[0].count(" ") + 1
    if record.confusion is not None and wide != len(record.confusion.classes):
        return False
    text = " ".join(rows)
    one_space = text and not (text.startswith(" ") or text.endswith(" ") or "  " in text)
    # A row with a count of 16 digits has at least one digit and one space for each of the others.
    short = max(map(len, rows)) < _DIGITS + 2 * (wide - 1) or not _LONG.search(text)
    # Without the digits, only the spaces between the counts remain.
    columns = "\n".join(rows).encode(errors="replace").translate(None, b"0123456789") + b"\n"
    same = columns == (b" " * (wide - 1) + b"\n") * len(rows)
    return bool(one_space and short and same) and len({len(table) for table in tables}) == 1
