"""Section: failed, missing and unreadable runs."""

from __future__ import annotations

from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.report.markdown import escape
from studies.report.page import FOLDED, Page
from studies.report.sections.study.setup import cell_text


def failures(study: Study, page: Page) -> None:
    """List runs that failed or are missing, and files that cannot be read."""
    rows = [
        {"cell": cell_text(study, run.cell), "seed": str(run.seed), "what": f"failed{_when(run)}"}
        for run in study.failed
    ]
    rows += [
        {"cell": baseline.name, "seed": str(run.seed), "what": f"failed{_when(run)}"}
        for baseline in study.baselines
        for run in baseline.runs
        if not run.complete
    ]
    rows += [
        {"cell": cell_text(study, cell), "seed": str(seed), "what": "missing: no record"}
        for cell, seed in study.missing
    ]
    rows += [
        {"cell": name, "seed": str(seed), "what": "missing: no record"}
        for name, seed in study.missing_baselines
    ]
    if not (rows or study.unread):
        return
    page.head("Failed, missing and unreadable runs")
    page.rows(rows, 20, file="failures")
    page.add("\n".join(f"- excluded: {escape(reason)}" for reason in study.unread[:FOLDED]))
    if len(study.unread) > FOLDED:
        page.add(f"{len(study.unread) - FOLDED} more files are excluded.")


def _when(run: StudyRun) -> str:
    failure = run.record.failure
    if failure is None:
        return ": no reason recorded"
    return f"{'' if failure.epoch is None else f' in epoch {failure.epoch}'}: {failure.reason}"
