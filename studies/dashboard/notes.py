"""Notes of the dashboard about a study and its cells, in Markdown."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from studies.analysis import cell_stats, metrics
from studies.analysis.metrics import ACC, ARI, DEAD, EFFECTIVE, ELBO, MARGINAL, NMI, SPEED, Measure
from studies.analysis.study import Study
from studies.dashboard import importance
from studies.report import markdown, tables
from studies.report.markdown import escape, prose
from studies.statistics import stats
from studies.utils import formatting

VALUE = replace(metrics.measure("mixture_elbo", "validation"), label="ELBO, validation")
SHOWN_MEASURES = (VALUE, ELBO, MARGINAL, NMI, ARI, ACC, EFFECTIVE, DEAD, SPEED)

IN_REPORT = (
    "*Hyperparameter Importance* shows the share of variance of the ELBO on test images that each setting "
    "explains: partial η², from the analysis of variance of the report. The plot *Analysis of variance* adds "
    "NMI, interactions and intervals."
)
PED_ANOVA = (
    "*Hyperparameter Importance* is PED-ANOVA (Watanabe et al., 2023): how the values of a setting are "
    "distributed among the best trials. The report does not use it."
)

ORACLE_NOTE = "**Oracle**: the search that created this trial uses labels."


def of_study(study: Study, *, oracle: bool = False) -> str:
    """Return the note of a study: counts, terms, metrics and commands.

    Args:
        study: the study.
        oracle: whether labels selected the cells.
    """
    complete = sum(run.complete for run in study.runs)
    counts = [formatting.count(len(study.cells), "cell"), f"{formatting.count(complete, 'run')} complete"]
    counts += [f"{len(study.failed)} failed"] if study.failed else []
    counts += [f"{len(study.missing)} missing"] if study.missing else []
    parts = [
        f"## {escape(study.title)}",
        "**Oracle: labels selected the cells of this study.**" if oracle else "",
        prose(study.description),
        f"{', '.join(counts)}. A trial is a cell: one configuration, trained once for each seed. Metrics "
        "are means over seeds; ± is the standard deviation over seeds (ddof = 1).",
        f"Reference cell: {escape(tables.describe_all(study, study.reference))}."
        if study.reference is not None
        else "",
        "Bounds are in nats per image; higher is better. NMI, ARI and ACC compare test assignments with "
        "labels, which are used for scoring only.",
        f"Run or resume the study:\n{markdown.code([_lines(study.command)])}",
        "The report with intervals and tests is `report.md` in the study's folder. It numbers cells from 1; "
        "the dashboard numbers trials from 0.",
        IN_REPORT if importance.shares(study) else PED_ANOVA,
    ]
    return "\n\n".join(part for part in parts if part)


def of_cell(
    study: Study, cell: int, command: str, pictures: Sequence[str] = (), *, oracle: bool = False
) -> str:
    """Return the note of a cell: settings, metrics and the command that runs it.

    Args:
        study: the study of the cell.
        cell: index of the cell.
        command: the command that runs this cell.
        pictures: URLs of pictures, shown at the end.
        oracle: whether labels selected the cell.
    """
    runs = study.of_cell(cell)
    seeds = ", ".join(str(run.seed) for run in runs if run.complete)
    failed = [f"seed {run.seed}: {run.record.failure.reason}" for run in runs if run.record.failure]
    parts = [
        f"**Cell {cell_stats.label(study, cell)} of the report**: {escape(tables.describe_all(study, cell))}",
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
    """Return the note of a pruned trial.

    Args:
        cell: description of the cell.
        epoch: last epoch that ended; None if none did.
        oracle: whether labels selected the cells.
    """
    when = "before its first epoch ended" if epoch is None else f"after epoch {epoch}"
    parts = [
        escape(cell),
        f"Pruned {when}, because earlier trials were better. The trial has a curve but no record.",
        ORACLE_NOTE if oracle else "",
    ]
    return "\n\n".join(part for part in parts if part)


def command_of(study: Study, cell: int) -> str:
    """Return the command that runs one cell of an ablation.

    Args:
        study: the study.
        cell: index of the cell.
    """
    pairs = zip(study.axes, study.cells[cell], strict=True)
    words = shlex.split(study.command)
    if "--name" in words:  # a part of a study has a name of its own
        place = words.index("--name")
        del words[place : place + 2]
    changes = (["--set", f"{axis}={_typed(value)}"] for axis, value in pairs)
    return shlex.join([*words, *itertools.chain(*changes)])


def _lines(command: str) -> str:
    """Break a command into short lines, so that it does not widen the page."""
    return re.sub(r"(?<! --) (?=--\w)", " \\\\\n  ", command)


def _difference(study: Study, cell: int) -> str:
    if study.reference is None:
        return ""
    if cell == study.reference:
        return "This is the reference cell."
    names = tables.axis_names(study.axes)
    changed = [
        f"{names[axis]} {study.text(cell, axis)} (not {study.text(study.reference, axis)})"
        for axis in study.axes
        if study.value(cell, axis) != study.value(study.reference, axis)
    ]
    return f"Differs from the reference cell in {escape(', '.join(changed))}"


def _table(study: Study, cell: int) -> str:
    rows = []
    for measure in cell_stats.measured(study, SHOWN_MEASURES):
        values = study.matrix(measure.key)
        if np.isfinite(values[:, cell]).any():
            row = {"mean ± std": measure.heading, "this cell": _spread(measure, values[:, [cell]])}
            if study.reference not in (None, cell):
                row["reference cell"] = _spread(measure, values[:, [study.reference]])
            rows.append(row)
    return markdown.table(rows)


def _spread(measure: Measure, values: Any) -> str:
    return tables.spread(measure, float(stats.means(values)[0]), float(stats.deviations(values)[0]))


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
