"""What the dashboard says of a study and of its cells, in Markdown."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from studies.analysis import cell_stats, stats
from studies.analysis.metrics import ACC, ARI, DEAD, EFFECTIVE, ELBO, MARGINAL, NMI, SPEED, Measure
from studies.analysis.study import Study
from studies.report import markdown, tables
from studies.report.markdown import escape, prose
from studies.utils import formatting

VALUE = Measure("validation.mixture_elbo", "ELBO, validation", "nats", digits=2, nats=True)
SHOWN_MEASURES = (VALUE, ELBO, MARGINAL, NMI, ARI, ACC, EFFECTIVE, DEAD, SPEED)

ORACLE_NOTE = "**Oracle**: the search that asked for this trial sees labels."


def of_study(study: Study, *, oracle: bool = False) -> str:
    """Return what a reader must know of the whole study."""
    complete = sum(run.complete for run in study.runs)
    counts = [formatting.count(len(study.cells), "cell"), f"{formatting.count(complete, 'run')} complete"]
    counts += [f"{len(study.failed)} failed"] if study.failed else []
    counts += [f"{len(study.missing)} still to do"] if study.missing else []
    parts = [
        f"## {escape(study.title)}",
        "**Oracle: labels decided what was chosen here.**" if oracle else "",
        prose(study.description),
        f"{', '.join(counts)}. A trial is a cell: one setting, trained once for each of its seeds; its "
        "numbers are means over them, and ± is the standard deviation between them (ddof = 1).",
        f"Baseline: {escape(tables.describe(study, study.baseline))}." if study.baseline is not None else "",
        "Bounds are in nats per image, the higher the better. NMI, ARI and ACC are on test images and use "
        "labels for scoring only.",
        f"Run it, or go on with it:\n{markdown.code([_lines(study.command)])}",
        "The whole report, with intervals and tests, is `report.md` in the study's folder. Its cells count "
        "from 1, trials from 0.",
        "Which settings matter: where all settings are crossed, the plot *Analysis of variance* shows the "
        "report's shares of variance of each setting and of their interactions, from all runs. The "
        "dashboard's *Hyperparameter Importance* answers another question with another method, PED-ANOVA "
        "(Watanabe et al., 2023): how "
        "differently the best trials are distributed over a setting's values, computed from the means of "
        "trials. The two need not agree; the report uses the former alone.",
    ]
    return "\n\n".join(part for part in parts if part)


def of_cell(
    study: Study, cell: int, command: str, pictures: Sequence[str] = (), *, oracle: bool = False
) -> str:
    """Return what a reader wants to know of a cell: how it differs, what it gave, how to run it.

    Args:
        study: the cell's.
        cell: its index.
        command: runs this cell.
        pictures: URLs, shown at the end.
        oracle: whether labels decided that there is such a cell.
    """
    runs = study.of_cell(cell)
    seeds = ", ".join(str(run.seed) for run in runs if run.complete)
    failed = [f"seed {run.seed}: {run.record.failure.reason}" for run in runs if run.record.failure]
    parts = [
        f"**Cell {cell_stats.label(study, cell)}**: {escape(tables.describe(study, cell))}",
        _difference(study, cell),
        ORACLE_NOTE if oracle else "",
        f"n = {sum(run.complete for run in runs)} (seeds {seeds})" if seeds else "n = 0",
        f"Failed: {escape('; '.join(failed))}" if failed else "",
        _table(study, cell),
        markdown.code([_lines(command)]),
        *(f"![]({picture})" for picture in pictures),
    ]
    return "\n\n".join(part for part in parts if part)


def of_stopped(cell: str, epoch: int | None, *, oracle: bool = False) -> str:
    """Return what is to be said of a trial that was stopped early, after that epoch."""
    when = "before its first epoch ended" if epoch is None else f"after epoch {epoch}"
    parts = [
        escape(cell),
        f"Stopped {when}, behind the trials before it: it left no record, and its curve is all there is.",
        ORACLE_NOTE if oracle else "",
    ]
    return "\n\n".join(part for part in parts if part)


def command_of(study: Study, cell: int) -> str:
    """Return the command that runs one cell of an ablation by itself."""
    pairs = zip(study.axes, study.cells[cell], strict=True)
    words = (f"--set {shlex.quote(f'{axis}={_typed(value)}')}" for axis, value in pairs)
    return " ".join((study.command, *words))


def _lines(command: str) -> str:
    """Return a command on several short lines: a wide one would push the page aside."""
    return re.sub(r"(?<! --) (?=--\w)", " \\\\\n  ", command)


def _difference(study: Study, cell: int) -> str:
    if study.baseline is None:
        return ""
    if cell == study.baseline:
        return "This is the baseline."
    names = tables.words(study.axes)
    changed = [
        f"{names[axis]} {study.text(cell, axis)} (not {study.text(study.baseline, axis)})"
        for axis in study.axes
        if study.value(cell, axis) != study.value(study.baseline, axis)
    ]
    return f"Differs from the baseline in {escape(', '.join(changed))}"


def _table(study: Study, cell: int) -> str:
    rows = []
    for measure in cell_stats.measured(study, SHOWN_MEASURES):
        values = study.matrix(measure.key)
        if np.isfinite(values[:, cell]).any():
            row = {"mean ± std": measure.heading, "this cell": _spread(measure, values[:, [cell]])}
            if study.baseline not in (None, cell):
                row["baseline"] = _spread(measure, values[:, [study.baseline]])
            rows.append(row)
    return markdown.table(rows)


def _spread(measure: Measure, values: Any) -> str:
    return tables.spread(measure, float(stats.means(values)[0]), float(stats.deviations(values)[0]))


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
