"""A study's numbers as tables: data frames for programs, Markdown for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from studies import measures, stats
from studies.measures import Measure
from studies.study import Study

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def escape(text: str) -> str:
    """Return the text so that Markdown shows it letter for letter, in a table too."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def words(axes: Sequence[str]) -> dict[str, str]:
    """Return what each axis is called: its last word, or more of its key where that says too little."""
    last = [axis.rpartition(".")[2] for axis in axes]
    return {
        axis: (axis if name in ("kind", "name") or last.count(name) > 1 else name)
        .replace(".", " ")
        .replace("_", " ")
        for axis, name in zip(axes, last, strict=True)
    }


def show(value: Any) -> str:
    """Return the value of an axis as short text."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "-".join(show(part) for part in value)
    return str(value)


def cell_name(study: Study, cell: int, axes: Sequence[str] | None = None) -> str:
    """Return the cell in words, such as `balance weight 20, temperature 1`; only `axes` where given."""
    names = words(tuple(study.axes))
    chosen = tuple(study.axes) if axes is None else axes
    return ", ".join(f"{names[axis]} {show(study.value(cell, axis))}" for axis in chosen) or "the only cell"


def cell_table(study: Study, chosen: Sequence[Measure]) -> pd.DataFrame:
    """Return one row a cell: its axis values, how many runs are complete and failed and missing, and for
    each measure mean, standard deviation (ddof = 1) and n."""
    columns: dict[str, Any] = {
        axis: [show(study.value(cell, axis)) for cell in range(len(study.cells))] for axis in study.axes
    }
    columns["complete"] = _count(study, [run.cell for run in study.runs if run.complete])
    columns["failed"] = _count(study, [run.cell for run in study.failed])
    columns["missing"] = _count(study, [cell for cell, _ in study.missing])
    for measure in chosen:
        summary = stats.summarize(study.matrix(measure.key))
        columns[f"{measure.key} mean"] = summary.mean
        columns[f"{measure.key} std"] = summary.std
        columns[f"{measure.key} n"] = summary.n
    return pd.DataFrame(columns)


def measured(study: Study, candidates: Sequence[Measure]) -> tuple[Measure, ...]:
    """Return the measures that at least one run has: without labels there is no NMI."""
    present = {key for run in study.runs for key in run.metrics}
    return tuple(measure for measure in candidates if measure.key in present)


def results(study: Study) -> str:
    """Return the main table in Markdown: a row a cell, mean ± standard deviation of the leading measures."""
    chosen = measured(study, measures.LEADING)
    frame = cell_table(study, chosen)
    names = words(tuple(study.axes))
    rows = []
    for _, row in frame.iterrows():
        shown = {names[axis]: str(row[axis]) for axis in study.axes}
        shown["n"] = _n(int(row["complete"]), int(row["failed"]), int(row["missing"]))
        for measure in chosen:
            shown[measure.heading] = plus_minus(
                measure, row[f"{measure.key} mean"], row[f"{measure.key} std"]
            )
        rows.append(shown)
    return markdown(rows)


def plus_minus(measure: Measure, mean: float, std: float) -> str:
    """Return `mean ± std`; the mean alone where there is no spread, a dash where there is neither."""
    return measure.show(mean) if std != std else f"{measure.show(mean)} ± {measure.show(std)}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows of text as a Markdown table; names and values are escaped, numbers stand to the right."""
    if not rows:
        return ""
    headers = list(rows[0])
    body = [[escape(row[name]) for name in headers] for row in rows]
    align = ["right" if all(_numeric(row[name]) for row in rows) else "left" for name in headers]
    return tabulate(
        body, [escape(name) for name in headers], tablefmt="pipe", disable_numparse=True, colalign=align
    )


def _numeric(text: str) -> bool:
    return re.match(r"^(–|-?[\d.])", text) is not None


def _n(complete: int, failed: int, missing: int) -> str:
    lost = [f"{count} {word}" for count, word in ((failed, "failed"), (missing, "missing")) if count]
    return f"{complete} ({', '.join(lost)})" if lost else str(complete)


def _count(study: Study, cells: Sequence[int]) -> list[int]:
    return pd.Series(cells, dtype=int).value_counts().reindex(range(len(study.cells)), fill_value=0).tolist()
