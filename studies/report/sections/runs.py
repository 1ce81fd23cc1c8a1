"""Section: samples, reconstructions and confusion of the best and the worst run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from studies.analysis import cell_stats, judging
from studies.analysis.analyze import Analysis
from studies.analysis.judging import Judge
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.records import packed
from studies.report import run_plots, tables
from studies.report.markdown import escape
from studies.report.page import Page
from studies.report.sections import class_overlap

TEMPLATES = "templates"
"""Kind of the pictures of deformable experts' templates, by epoch."""


def runs(analysis: Analysis, page: Page) -> None:
    """Show samples, reconstructions and confusion of the best and the worst run.

    If the best run has no templates, the best of those that have some follows.
    """
    study = analysis.study
    judge, alike, some = _judged(study)
    if not alike:
        return
    page.head("Experts of the best and the worst run")
    if judge is None:
        page.add(judging.REFUSAL)
        return
    page.add(
        f"The best run has {judge.words}{some}. This selection uses neither labels nor the test split. The "
        "worst run is last by the same criterion."
    )
    for name, run in _shown(judge, alike).items():
        numbers = ", ".join(
            f"{measure.label} {measure.show(run.metrics[measure.key])}" for measure in analysis.compared
        )
        page.add(
            f"**The {name} run**, {judge.show(run)}: "
            f"cell {cell_stats.label(study, run.cell)} ({escape(tables.describe(study, run.cell))}), "
            f"seed {run.seed}; on the test split {numbers}. Record `{run.record.fingerprint}`."
        )
        _pictures(study, page, run, name)


def shown_pictures(study: Study) -> set[str]:
    """Return the files of the pictures that the section shows."""
    judge, alike, _ = _judged(study)
    shown = _shown(judge, alike).values() if judge is not None and alike else ()
    return {picture.file for run in shown for picture in run.record.pictures.values()}


def _judged(study: Study) -> tuple[Judge | None, list[StudyRun], str]:
    """Return what ranks the runs, which ones it ranks, and in words, among which."""
    alike = [run for run in study.runs if run.likelihood == study.likelihood and run.complete]
    judge, some = judging.judge(alike), ""
    if judge is None and (own := [run for run in alike if run.cell == (study.baseline or 0)]):
        alike = [run for run in alike if run.objective == own[0].objective]
        judge = judging.judge(alike)
        some = (
            " among runs with the objective of the reference cell"
            if judge is judging.LOSS
            else " among runs with the validation images of the reference cell"
        )
    return judge, alike, some


def _shown(judge: Judge, alike: Sequence[StudyRun]) -> dict[str, StudyRun]:
    """Return the best and the worst run, and the best one with templates if the best has none."""
    found = [run for run in alike if judge.has(run)]
    best, worst = max(found, key=judge.score), min(found, key=judge.score)
    shown = {"best": best} | ({} if best is worst else {"worst": worst})
    drawn = [run for run in found if TEMPLATES in run.record.pictures]
    if drawn and (other := max(drawn, key=judge.score)) not in (best, worst):
        shown["best deformable"] = other
    return shown


def _pictures(study: Study, page: Page, run: StudyRun, name: str) -> None:
    names = {
        "samples": ("epoch", "expert"),
        TEMPLATES: ("epoch", "expert"),
        "reconstructions": ("", "test image"),
    }
    titles = {
        TEMPLATES: f"Template of each expert of the {name} run, by epoch",
        "samples": f"Samples from each expert of the {name} run, by epoch",
        "reconstructions": f"Test images and their reconstructions by the {name} run",
    }
    panels = {}
    for kind, picture in sorted(run.record.pictures.items(), reverse=True):
        if packed.was_dropped(study.folder, picture.file):
            page.add(
                f"The {escape(kind)} of the {name} run are not shown: dropped when the study was packed."
            )
            continue
        drawn = run_plots.grid(study.folder, picture, names.get(kind, ("", "")))
        if drawn is None:
            page.add(
                f"The {escape(kind)} of the {name} run cannot be shown: the file is not the recorded picture."
            )
            continue
        panels[titles.get(kind, f"{kind} of the {name} run")] = drawn
    if panels:
        page.show(f"{name} pictures", panels)
    table = run.record.confusion
    if table is not None:
        counts = np.array(table.counts)
        words = f"Test images by expert (rows) and class (columns) for the {name} run"
        panels = {words: run_plots.confusion(counts, table.classes)}
        by_epoch = class_overlap.history(study, run)
        if len(by_epoch) > 1:
            spread = np.unique(np.geomspace(1, len(by_epoch), 6).round().astype(int)) - 1
            epochs = [list(by_epoch)[place] for place in spread]
            words = f"Validation images by expert (rows) and class (columns) for the {name} run, over epochs"
            panels[words] = run_plots.confusions(
                {epoch: by_epoch[epoch] for epoch in epochs}, table.classes, counts
            )
        page.show(f"{name} confusion", panels)
