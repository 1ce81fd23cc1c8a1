"""Tables of a study: data frames for CSV files and rows of text for pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from studies.analysis.analyze import Analysis
from studies.analysis.cell_stats import label
from studies.analysis.effects import AxisEffect
from studies.analysis.metrics import Measure
from studies.analysis.study import DATA, Study
from studies.report import markdown
from studies.statistics import stats
from studies.statistics.paired import Comparison
from studies.utils.formatting import exact, short

Rows = list[dict[str, str]]

MANY_AXES = 8
"""With more axes, cells are described by their changes from the reference cell."""


def axis_names(axes: Iterable[str]) -> dict[str, str]:
    """Return the name of each axis in words: the end of its key, or all of it if that is ambiguous.

    Args:
        axes: dotted keys.
    """
    return {axis: name.replace(".", " ").replace("_", " ") for axis, name in short(axes).items()}


def setting_columns(study: Study, cell: int) -> dict[str, str]:
    """Return the columns of a table that show the settings of a cell.

    Args:
        study: the study.
        cell: index of the cell.

    Returns:
        One column per axis; with many axes, one for the changes from the reference cell.
    """
    if _many_axes(study):
        return {"setting": describe_changes(study, cell)}
    return dict(zip(axis_names(study.axes).values(), _levels(study, cell), strict=True))


def describe(study: Study, cell: int) -> str:
    """Return the settings of a cell as text, such as `balance weight 20, temperature 1`.

    With many axes, the text names only the changes from the reference cell.

    Args:
        study: the study.
        cell: index of the cell.
    """
    return describe_changes(study, cell) if _many_axes(study) else describe_all(study, cell)


def describe_all(study: Study, cell: int) -> str:
    """Return the value of a cell on each axis as text.

    Args:
        study: the study.
        cell: index of the cell.
    """
    names = axis_names(study.axes).values()
    levels = _levels(study, cell)
    return ", ".join(f"{name} {level}" for name, level in zip(names, levels, strict=True)) or "the only cell"


def describe_changes(study: Study, cell: int) -> str:
    """Return the settings in which a cell differs from the reference cell; all of them without one.

    Args:
        study: the study.
        cell: index of the cell.
    """
    if study.reference is None:
        return describe_all(study, cell)
    names = axis_names(study.axes).values()
    levels = zip(names, _levels(study, cell), _levels(study, study.reference), strict=True)
    changed = [f"{name} {level}" for name, level, usual in levels if level != usual]
    return ", ".join(changed) or "reference cell"


def run_table(study: Study) -> pd.DataFrame:
    """Return one row per run: fingerprint, cell, seed, status, values on the axes and all metrics.

    Runs of baselines come last; the name of the method replaces the cell.
    """
    rows = [
        {
            "fingerprint": run.record.fingerprint,
            "cell": label(study, run.cell),
            "seed": run.seed,
            "status": run.record.status,
            **{axis: exact(value) for axis, value in zip(study.axes, study.cells[run.cell], strict=True)},
            **run.metrics,
        }
        for run in study.runs
    ]
    rows += [
        {
            "fingerprint": run.record.fingerprint,
            "cell": baseline.name,
            "seed": run.seed,
            "status": run.record.status,
            **{axis: run.record.data.name if axis == DATA else "–" for axis in study.axes},
            **run.metrics,
        }
        for baseline in study.baselines
        for run in baseline.runs
    ]
    return pd.DataFrame(rows)


def result_rows(
    study: Study,
    frame: pd.DataFrame,
    chosen: Sequence[Measure],
    most: int | None = None,
    more: Callable[[int], dict[str, str]] = lambda cell: {},
) -> Rows:
    """Format `cell_table` as rows of text, ordered by the mean of the first measure.

    Args:
        study: a study of one data set.
        frame: the table of `cell_stats.cell_table`.
        chosen: measures that are shown.
        most: largest number of rows; None for all.
        more: returns further columns of a row of the table.
    """
    columns = setting_columns(study, 0)
    order = frame[f"{chosen[0].key} mean"].to_numpy() if chosen else np.zeros(len(frame))
    rows = []
    for cell in np.argsort(-order, kind="stable")[:most]:
        row = frame.iloc[int(cell)]
        shown = {"cell": row["cell"] + (" (reference)" if cell == study.reference else "")}
        shown |= setting_columns(study, int(cell)) if cell < len(study.cells) else dict.fromkeys(columns, "–")
        shown["n"] = _n(int(row["complete"]), int(row["failed"]), int(row["missing"]))
        for measure in chosen:
            mean, std, low, high = (row[f"{measure.key} {part}"] for part in ("mean", "std", "low", "high"))
            text = spread(measure, mean, std, low, high)
            if measure.spread and row[f"{measure.key} outliers"]:
                mark = text.find("\n") if "\n" in text else len(text)
                text = f"{text[:mark]} †{text[mark:]}"
            shown[measure.heading] = text
        rows.append(shown | more(int(cell)))
    return rows


def spread(measure: Measure, mean: float, std: float, low: float = np.nan, high: float = np.nan) -> str:
    """Format a mean, its standard deviation and, in a second line, its interval.

    Args:
        measure: the measure, which determines the digits.
        mean: the mean; NaN is shown as a dash.
        std: the standard deviation; NaN to omit it.
        low: lower end of the interval; NaN to omit it.
        high: upper end of the interval; NaN to omit it.
    """
    if not measure.spread:
        return measure.show(mean)
    first = f"{measure.show(mean)} ± {measure.show(std)}" if std == std else measure.show(mean)
    second = markdown.interval(measure.show(low), measure.show(high))
    return f"{first}\n{second}" if second else first


def comparison_table(analysis: Analysis) -> pd.DataFrame:
    """Return one row per cell and measure: comparisons with the best and with the reference cell."""
    study = analysis.study
    cells = pd.DataFrame({"cell": [label(study, cell) for cell in range(len(study.cells))]})
    for axis, values in zip(study.axes, zip(*study.cells, strict=True), strict=True):
        cells[axis] = [exact(value) for value in values]
    other = np.arange(len(study.cells)) != study.reference
    parts = []
    for measure, below in analysis.below_best.items():
        means, contrast = stats.means(study.comparable(measure)), analysis.contrasts.get(measure)
        part = cells.assign(measure=measure.key, mean=means, p_below_best=below)
        if contrast is not None:
            for name in Comparison.__dataclass_fields__:
                part[name] = np.where(other, getattr(contrast, name), np.nan)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def comparison_rows(
    measure: Measure, comparison: Comparison, names: Sequence[str], reference: int, what: str
) -> Rows:
    """Format a comparison as rows of text, one per name except the reference.

    Args:
        measure: the compared measure.
        comparison: the comparison; entries correspond to `names`.
        names: names of the compared cells, levels or methods.
        reference: index of the reference.
        what: heading of the column of names.
    """
    return [
        {
            what: name,
            f"Δ {measure.heading}": _difference(measure, comparison, place),
            "n": str(comparison.n[place]),
            "p": markdown.p_value(comparison.p[place]),
            "p (Holm)": markdown.p_value(comparison.holm[place]),
            "P(better)": _plain(comparison.improvement[place]),
            "effect g": _plain(comparison.effect[place]),
            "detectable": _detectable(measure, comparison.detectable[place]),
        }
        for place, name in enumerate(names)
        if place != reference
    ]


def level_rows(effects: Sequence[AxisEffect], levels: Sequence[str], reference: int, what: str) -> Rows:
    """Format the effects of an axis as rows of text, one per level.

    Args:
        effects: the effect on each measure.
        levels: the levels as text.
        reference: index of the reference level.
        what: heading of the column of levels.
    """
    rows = []
    for place, level in enumerate(levels):
        row = {what: level + (" (reference)" if place == reference else "")}
        for effect in effects:
            summary = effect.summary
            row[effect.measure.heading] = spread(
                effect.measure, summary.mean[place], np.nan, summary.low[place], summary.high[place]
            )
        row["n"] = str(min(int(effect.summary.n[place]) for effect in effects))
        rows.append(row)
    return rows


def _difference(measure: Measure, comparison: Comparison, place: int) -> str:
    low, high = comparison.low[place], comparison.high[place]
    return spread(measure, comparison.difference[place], np.nan, low, high).replace("\n", " ")


def _detectable(measure: Measure, value: float) -> str:
    return "none at this n" if value == np.inf else measure.show(value)


def _plain(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


def _many_axes(study: Study) -> bool:
    return len(study.axes) > MANY_AXES and study.reference is not None


def _levels(study: Study, cell: int) -> list[str]:
    return [study.text(cell, axis) for axis in study.axes]


def _n(complete: int, failed: int, missing: int) -> str:
    lost = [f"{count} {word}" for count, word in ((failed, "failed"), (missing, "missing")) if count]
    return f"{complete} ({', '.join(lost)})" if lost else str(complete)
