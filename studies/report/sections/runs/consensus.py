"""Section: the consensus of several runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from studies.analysis import cell_stats, metrics
from studies.analysis.analyze import Analysis
from studies.analysis.metrics import Measure
from studies.records import consensus as records
from studies.records.consensus import ConsensusGroup
from studies.report import markdown, tables
from studies.report.page import Page
from studies.statistics import stats

SCORES = (metrics.NMI, metrics.ARI, metrics.ACC)


def consensus_of_runs(analysis: Analysis, page: Page) -> None:
    """Compare the consensus of groups of runs with the runs themselves, by cell."""
    study = analysis.study
    found = records.read(study.folder)
    rows = []
    for cell in range(len(study.cells)):
        runs = {run.record.fingerprint: run for run in study.of_cell(cell)}
        groups = [each for each in found.groups if set(each.members) <= runs.keys()] if found else []
        for size in sorted({len(each.members) for each in groups}):
            chosen = [each for each in groups if len(each.members) == size]
            members = [runs[name].metrics for each in chosen for name in each.members]
            label = cell_stats.label(study, cell)
            minutes = f"{np.mean([each.minutes for each in chosen]):.1f}"
            rows.append(
                {"cell": label, "of": f"consensus of {size} runs", "n": str(len(chosen))}
                | {each.heading: _spread(each, _scores(each, chosen)) for each in SCORES}
                | {"core minutes": minutes}
            )
            alone = f"{np.mean([each.minutes / size for each in chosen]):.1f}"
            rows.append(
                {"cell": label, "of": "its runs", "n": str(len(members))}
                | {
                    each.heading: _spread(each, [run.get(each.key, np.nan) for run in members])
                    for each in SCORES
                }
                | {"core minutes": alone}
            )
    if not found or not rows:
        return
    page.head("Consensus of runs")
    page.add(
        f"{found.rule} No labels are used, and no run is left out. Groups are disjoint and of consecutive "
        "seeds; n counts groups, and runs in the rows of their members. Core minutes are training and "
        "evaluation of all runs of a group, on one core."
    )
    page.add(markdown.table(rows))


def _scores(measure: Measure, groups: Sequence[ConsensusGroup]) -> list[float]:
    name = measure.key.rpartition(".")[2]
    return [each.metrics.get(name, np.nan) for each in groups]


def _spread(measure: Measure, values: Sequence[float]) -> str:
    column = np.array(values)[:, None]
    parts = (stats.means(column), stats.deviations(column), *stats.intervals(column, ends=measure.ends))
    return tables.spread(measure, *(float(part[0]) for part in parts))
