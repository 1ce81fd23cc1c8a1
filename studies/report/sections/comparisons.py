"""Sections: paired differences from the reference cell, and comparison with baselines."""

from __future__ import annotations

from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.records.schema import Method
from studies.report import markdown, tables
from studies.report.markdown import escape
from studies.report.page import FOLDED, Page


def against_baseline(analysis: Analysis, page: Page) -> None:
    """Every cell's paired difference from the baseline cell."""
    study = analysis.study
    if not analysis.contrasts or study.baseline is None:
        return
    page.head("Against the baseline cell")
    page.add(
        f"Paired differences from cell {cell_stats.label(study, study.baseline)} "
        f"({escape(tables.describe(study, study.baseline))}) over shared seeds."
    )
    frame = tables.comparison_table(study, list(analysis.contrasts), list(analysis.contrasts.values()))
    link = page.keep("comparisons", frame)
    names = [
        f"{cell_stats.label(study, cell)} ({tables.describe(study, cell)})"
        for cell in range(min(len(study.cells), FOLDED + 1))
    ]
    for measure, comparison in analysis.contrasts.items():
        page.add(f"**{measure.heading}**")
        rows = tables.comparison_rows(measure, comparison, names, study.baseline, "cell")
        page.rows(rows[:FOLDED], 0, link, total=len(study.cells) - 1)
    page.add(f"As CSV: {link}.")


def beside_peers(analysis: Analysis, page: Page) -> None:
    """Other methods on the same data with the same seeds, against the baseline cell."""
    study, baseline = analysis.study, analysis.study.baseline
    if not (study.peers or study.left_out):
        return
    page.head("Beside other methods")
    page.add(*map(escape, study.left_out))
    if not study.peers:
        return
    page.add(
        "Fitted to the same images with the same seeds; their rows stand in the table above. "
        "An oracle saw labels: an upper line, not a result."
    )
    if analysis.peers and baseline is not None:
        cell = f"cell {cell_stats.label(study, baseline)} ({tables.describe(study, baseline)})"
        page.add(f"Paired differences from {escape(cell)}:")
        names = [cell_stats.label(study, baseline), *(peer.name for peer in study.peers)]
        for measure, comparison in analysis.peers.items():
            page.add(markdown.table(tables.comparison_rows(measure, comparison, names, 0, "method")))
    methods = [(peer.name, peer.runs[0].record.method) for peer in study.peers]
    lines = [f"- {escape(name)}: {escape(_settings(method))}" for name, method in methods if method]
    page.fold("Their settings, and what came of those in the first run", "\n".join(lines))


def _settings(method: Method) -> str:
    """Return the settings of a method in words."""
    told = {**method.settings, **method.derived}
    return "; ".join(
        f"{key.replace('_', ' ')}: {f'{value:.4g}' if isinstance(value, float) else value}"
        for key, value in told.items()
    )
