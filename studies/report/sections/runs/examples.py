"""Section: samples, reconstructions and confusion of the best and the worst run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moevae.visualization import confusions
from studies.analysis import cell_stats, criteria
from studies.analysis.analyze import Analysis
from studies.analysis.criteria import RankingCriterion
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.records import packed
from studies.report import run_plots, tables
from studies.report.markdown import escape
from studies.report.page import Page
from studies.report.sections.runs import class_overlap

TEMPLATES = "templates"
"""Kind of the pictures of deformable experts' templates, by epoch."""

KINDS = {
    "templates": (("epoch", "expert"), "the template of each expert, by epoch"),
    "samples": (("epoch", "expert"), "a sample of each expert, from the same latents in each epoch"),
    "means": (("", "expert"), "the mean of the test images that each expert is assigned"),
    "reconstructions": (
        ("", "test image"),
        "the first test images above their reconstructions by the most probable expert",
    ),
    "neighbors": (
        ("", "sample"),
        "samples, each by an expert drawn from the prior (its number is below), above the training images "
        "nearest to the samples by the number of different pixels and the first test images, binarized alike",
    ),
}
"""Pictures in the order of the page: names of the axes, and what they show."""
PAIRS = ("reconstructions", "neighbors")
"""Pictures whose columns are images."""

CONFUSION = (
    "Number of test images of each class (columns) that each expert (rows) is assigned. Color: share of the "
    "images of the expert. Experts are ordered by their largest class"
)
MAP = (
    "One point per test image: its mean latents under all experts, projected by {method}, colored by expert "
    "and by class, with the number of images of each."
)


def runs(analysis: Analysis, page: Page) -> None:
    """Show samples, reconstructions and confusion of the best and the worst run.

    If the best run has no templates, the best of those that have some follows.
    """
    study = analysis.study
    criterion, comparable, some = _ranked_runs(study)
    if not comparable:
        return
    page.head("Experts of the best and the worst run")
    if criterion is None:
        page.add(criteria.REFUSAL)
        return
    page.add(
        f"The best run has {criterion.words}{some}. This selection uses neither labels nor the test split. "
        "The worst run is last by the same criterion."
    )
    for name, run in _shown(criterion, comparable).items():
        numbers = ", ".join(
            f"{measure.label} {measure.show(run.metrics[measure.key])}" for measure in analysis.compared
        )
        page.add(
            f"**The {name} run**, {criterion.show(run)}: "
            f"cell {cell_stats.label(study, run.cell)} ({escape(tables.describe(study, run.cell))}), "
            f"seed {run.seed}; on the test split {numbers}. Record `{run.record.fingerprint}`."
        )
        _pictures(study, page, run, name)


def shown_pictures(study: Study) -> set[str]:
    """Return the files of the pictures that the section shows."""
    criterion, comparable, _ = _ranked_runs(study)
    shown = _shown(criterion, comparable).values() if criterion is not None and comparable else ()
    return {picture.file for run in shown for picture in run.record.pictures.values()}


def _ranked_runs(study: Study) -> tuple[RankingCriterion | None, list[StudyRun], str]:
    """Return what ranks the runs, which ones it ranks, and in words, among which."""
    comparable = [run for run in study.runs if run.likelihood == study.likelihood and run.complete]
    criterion, some = criteria.ranking_criterion(comparable), ""
    if criterion is None and (own := [run for run in comparable if run.cell == (study.reference or 0)]):
        comparable = [run for run in comparable if run.objective == own[0].objective]
        criterion = criteria.ranking_criterion(comparable)
        some = (
            " among runs with the objective of the reference cell"
            if criterion is criteria.LOSS
            else " among runs with the validation images of the reference cell"
        )
    return criterion, comparable, some


def _shown(criterion: RankingCriterion, comparable: Sequence[StudyRun]) -> dict[str, StudyRun]:
    """Return the best and the worst run, and the best one with templates if the best has none."""
    found = [run for run in comparable if criterion.has(run)]
    best, worst = max(found, key=criterion.score), min(found, key=criterion.score)
    shown = {"best": best} | ({} if best is worst else {"worst": worst})
    drawn = [run for run in found if TEMPLATES in run.record.pictures]
    if drawn and (other := max(drawn, key=criterion.score)) not in (best, worst):
        shown["best deformable"] = other
    return shown


def _pictures(study: Study, page: Page, run: StudyRun, name: str) -> None:
    table = run.record.confusion
    counts = None if table is None else np.array(table.counts)
    order = None if counts is None else confusions.by_class(counts).tolist()
    panels = {}
    for kind in (*KINDS, "map"):
        picture = run.record.pictures.get(kind)
        if picture is None:
            continue
        if packed.was_dropped(study.folder, picture.file):
            page.add(f"The {kind} of the {name} run are not shown: dropped when the study was packed.")
            continue
        drawn = (
            run_plots.latent_map(
                study.folder, picture, len(run.record.load), table.classes if table is not None else ()
            )
            if kind == "map"
            else run_plots.grid(study.folder, picture, KINDS[kind][0], None if kind in PAIRS else order)
        )
        if drawn is None:
            page.add(f"The {kind} of the {name} run cannot be shown: the file is not the recorded picture.")
        elif kind == "map":
            caption = MAP.format(method=run_plots.method(picture))
            page.show(f"{name} map", {f"Map of test images of the {name} run": drawn}, caption)
        else:
            panels[kind] = drawn
    if panels:
        titles = [KINDS[kind][1] for kind in panels]
        ordered = " Experts are in the order of the figure of experts and classes." if order else ""
        page.show(
            f"{name} pictures",
            {
                f"{title[0].upper()}{title[1:]}, for the {name} run": panel
                for title, panel in zip(titles, panels.values(), strict=True)
            },
            f"From top to bottom: {'; '.join(titles)}.{ordered}",
        )
    if table is not None and counts is not None:
        words = f"Test images by expert (rows) and class (columns) for the {name} run"
        panels = {words: confusions.confusion(counts, table.classes)}
        by_epoch = class_overlap.history(study, run)
        if len(by_epoch) > 1:
            spread = np.unique(np.geomspace(1, len(by_epoch), 6).round().astype(int)) - 1
            epochs = [list(by_epoch)[place] for place in spread]
            words = f"Validation images by expert (rows) and class (columns) for the {name} run, over epochs"
            panels[words] = confusions.confusions(
                {epoch: by_epoch[epoch] for epoch in epochs}, table.classes, counts
            )
        earlier = ", here and in the panels of earlier epochs, which count validation images"
        page.show(f"{name} confusion", panels, f"{CONFUSION}{earlier if len(by_epoch) > 1 else ''}.")
