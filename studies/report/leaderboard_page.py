"""The page of the leaderboard: its tables, and separately literature values."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from studies.report import literature
from studies.report.leaderboard import SCORES, TITLES, Row
from studies.report.markdown import prose

INTRODUCTION = """\
One row per method: mean ACC and NMI over n runs with their 95 % intervals (Student's t), and the lowest \
run. Every run counts; none is restarted or selected. Training uses no labels. ACC is one-to-one (Hungarian).

- *n* counts runs. A consensus combines the runs of its method, and its *n* counts groups of runs.
- *minutes*: training time of the median run on one CPU core, without what runs share, such as the graph of \
neighbors; of a consensus, the time of all runs.
- *clusters*: their number, given (the number of classes) or found by training.
- *labels chose*: the images whose labels selected settings; *not known* if no note tells what selected them.
- Rows in italics are other methods, fitted here to the same images. Methods of other packages, such as \
ClustPy, have the default settings of the package (N2D those of its authors). With †, the stated pretraining \
and processor time are a fraction of what their authors use. The score is that of the last epoch.
- Literature values have their own code, splits and seeds, and are not comparable row by row. Purity is \
many-to-one, and higher than ACC.
- docs/reference/glossary.md explains the terms, and docs/reference/bibliography.md has the papers of the \
methods that are measured here."""


MARK = "†"
"""Follows the name of a method of another package."""


def markdown(found: Sequence[Row], depth: int = 2) -> str:
    """Return the leaderboard as Markdown: a part per data set, with literature values apart.

    Args:
        found: the result of `rows`.
        depth: level of its heading.
    """
    blocks = [f"{'#' * depth} Leaderboard", INTRODUCTION]
    for data in [name for name in TITLES if any(row.data == name for row in found)]:
        blocks.append(f"{'#' * (depth + 1)} {TITLES[data]}")
        for scored in SCORES:
            if some := [row for row in found if (row.data, row.scored) == (data, scored)]:
                blocks += [f"**Measured here, scored on {scored}**", _table(some), *notes(some)]
        published = [row for row in literature.published().clustering if row.data == data]
        blocks += ["**Literature values, not reproduced**", literature.table_of(published)]
    return "\n\n".join(blocks)


def notes(some: Sequence[Row]) -> list[str]:
    """Return what the mark of rows says: the protocols of methods of other packages, one line each."""
    return [f"{MARK} fitted here: {each}" for each in dict.fromkeys(row.protocol for row in some) if each]


def _table(some: Sequence[Row]) -> str:
    lines = ["| method | trained on | n | ACC | lowest | NMI | lowest | minutes | clusters | labels chose |"]
    lines.append("|:--|--:|--:|:--|--:|:--|--:|--:|:--|:--|")
    for row in some:
        name = f"*{prose(row.method)}*" if row.baseline else prose(row.method)
        mark = f" {MARK}" if row.protocol else ""
        cells = [
            f"[{name}]({quote(row.page)}){mark}",
            f"{row.trained:,}",
            str(row.n),
            interval(row.acc, row.acc_low, row.acc_high),
            share(row.acc_lowest),
            interval(row.nmi, row.nmi_low, row.nmi_high),
            share(row.nmi_lowest),
            "GPU" if row.minutes is None else minutes(row.minutes),
            row.clusters,
            row.labels,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def share(value: float) -> str:
    """Return a score with three decimals and without the leading zero, as the literature prints it."""
    return f"{value:.3f}".removeprefix("0")


def minutes(value: float) -> str:
    """Return minutes, with one decimal below ten."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def interval(mean: float, low: float | None, high: float | None) -> str:
    """Return a mean with its interval, if it has one.

    Args:
        mean: the mean.
        low: lower end of the interval.
        high: upper end of the interval.
    """
    return share(mean) if low is None or high is None else f"{share(mean)} [{share(low)}, {share(high)}]"
