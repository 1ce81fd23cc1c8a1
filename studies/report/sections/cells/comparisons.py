"""Sections: paired differences from the reference cell, and comparison with baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.records.schema import Method
from studies.report import markdown, tables
from studies.report.markdown import escape
from studies.report.page import FOLDED, Page

FEW = 3
"""Largest number of different integers that are listed, not only their range."""


def paired_differences(analysis: Analysis, page: Page) -> None:
    """Add the paired difference of each cell from the reference cell."""
    study = analysis.study
    if not analysis.contrasts or study.reference is None:
        return
    page.head("Paired differences from the reference cell")
    page.add(
        f"The reference cell is cell {cell_stats.label(study, study.reference)} "
        f"({escape(tables.describe_all(study, study.reference))}). Differences are paired by seed."
    )
    names_of = tables.axis_names(study.axes)
    if bare := [names_of[axis] for axis, along in analysis.effects.items() if not along]:
        page.add(
            f"No settings of the other axes have all levels of {', '.join(bare)}: only this section compares "
            "them, cell by cell."
        )
    link = "[tables/comparisons.csv](tables/comparisons.csv)"  # of the section of results
    names = [
        f"{cell_stats.label(study, cell)} ({tables.describe(study, cell)})"
        for cell in range(min(len(study.cells), FOLDED + 1))
    ]
    for measure, comparison in analysis.contrasts.items():
        page.add(f"**{measure.heading}**")
        rows = tables.comparison_rows(measure, comparison, names, study.reference, "cell")
        page.rows(rows[:FOLDED], 0, link, total=len(study.cells) - 1)
    page.add(f"CSV file: {link}.")


def baseline_comparison(analysis: Analysis, page: Page) -> None:
    """Compare the reference cell with baselines on the same data and seeds."""
    study, reference = analysis.study, analysis.study.reference
    if not (study.baselines or study.left_out):
        return
    page.head("Comparison with baselines")
    page.add(*map(escape, study.left_out))
    if not study.baselines:
        return
    page.add(
        "Baselines are other methods, fitted to the same images with the same seeds. The table of results "
        "contains their rows. An oracle uses labels: it is an upper reference, not a result."
    )
    if analysis.baseline_contrasts and reference is not None:
        cell = f"cell {cell_stats.label(study, reference)} ({tables.describe(study, reference)})"
        page.add(f"Paired differences from {escape(cell)}:")
        names = [cell_stats.label(study, reference), *(baseline.name for baseline in study.baselines)]
        for measure, comparison in analysis.baseline_contrasts.items():
            page.add(markdown.table(tables.comparison_rows(measure, comparison, names, 0, "method")))
    fitted = {
        baseline.name: [run.record.method for run in baseline.runs if run.record.method]
        for baseline in study.baselines
    }
    lines = [f"- {escape(name)}: {escape(_settings(methods))}" for name, methods in fitted.items() if methods]
    page.fold("Settings of the baselines, and values derived from them", "\n".join(lines))


def _settings(methods: Sequence[Method]) -> str:
    """Return the settings of a method as text, and the derived values of its runs."""
    values = {key: [value] for key, value in methods[0].settings.items()}
    for key in methods[0].derived:
        values[key] = [method.derived[key] for method in methods if key in method.derived]
    return "; ".join(f"{key.replace('_', ' ')}: {_spread(every)}" for key, every in values.items())


def _spread(values: Sequence[Any]) -> str:
    """Return the value that runs share, the range of their numbers, or how many runs have each value."""
    counts = Counter(map(_text, values))
    if len(counts) == 1:
        return next(iter(counts))
    numbers = all(isinstance(value, int | float) for value in values)
    if numbers and (len(counts) > FEW or any(isinstance(value, float) for value in values)):
        return f"{_text(min(values))} to {_text(max(values))}"
    return ", ".join(f"{text} ({count} of {len(values)} runs)" for text, count in counts.most_common())


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
