"""The page's numbers: the sections about the runs of one data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from studies.analysis import effects, judging, stats
from studies.analysis.analyze import Analysis
from studies.analysis.study import Run, Study
from studies.records.schema import Method
from studies.report import markdown, plots, run_plots, tables
from studies.report.markdown import escape
from studies.report.page import FOLDED, Page
from studies.report.sections import bounds, calibration, outlying, restarts
from studies.report.sections import effects as axes

LONG = 40
"""Rows of a table that are shown without a click."""


def results(analysis: Analysis, page: Page) -> None:
    """The full table, the best cell first."""
    study = analysis.study
    rows = tables.result_rows(study, analysis.table, analysis.leading, most=LONG + FOLDED)
    page.head("Results")
    first = analysis.leading[0].label if analysis.leading else "nothing yet"
    page.add(
        f"One row a cell, by {first}: mean ± standard deviation [95 % interval of the mean] over n seeds."
    )
    page.rows(rows, LONG, "[table.csv](table.csv)", total=len(analysis.table))
    _beside_best(analysis, page)
    for cells in _alike(study):
        *most, last = (tables.label(study, cell) for cell in cells)
        page.add(
            f"Cells {', '.join(most)} and {last} have the same test metrics, seed by seed, in every digit: "
            "what they differ in did nothing there."
        )


def _beside_best(analysis: Analysis, page: Page) -> None:
    """Which cells are told from the one with the highest mean, as a table for programs."""
    study = analysis.study
    rows = [
        {
            "measure": measure.key,
            "cell": tables.label(study, cell),
            "mean": mean,
            "p": p,
            "below_best": bool(p <= 1 - stats.LEVEL),
        }
        for measure, row in analysis.below.items()
        for cell, (mean, p) in enumerate(zip(stats.means(study.comparable(measure)), row, strict=True))
    ]
    if any(row["p"] == row["p"] for row in rows):
        link = page.keep("best", pd.DataFrame(rows))
        page.add(
            f"Each cell against the one with the highest mean, p adjusted over cells and measures: {link}."
        )


def _alike(study: Study) -> list[list[int]]:
    """Return groups of cells whose runs have the same test metrics, seed by seed."""
    groups: dict[Any, list[int]] = {}
    for cell in range(len(study.cells)):
        complete = [run for run in study.of_cell(cell) if run.complete]
        scores = tuple((run.seed, tuple(sorted(run.record.metrics["test"].items()))) for run in complete)
        if scores:
            groups.setdefault(scores, []).append(cell)
    return [cells for cells in groups.values() if len(cells) > 1]


def against_baseline(analysis: Analysis, page: Page) -> None:
    """Every cell's paired difference from the baseline cell."""
    study = analysis.study
    if not analysis.contrasts or study.baseline is None:
        return
    page.head("Against the baseline cell")
    page.add(
        f"Paired differences from cell {tables.label(study, study.baseline)} "
        f"({escape(tables.describe(study, study.baseline))}) over shared seeds."
    )
    frame = tables.comparison_table(study, list(analysis.contrasts), list(analysis.contrasts.values()))
    link = page.keep("comparisons", frame)
    names = [
        f"{tables.label(study, cell)} ({tables.describe(study, cell)})"
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
        cell = f"cell {tables.label(study, baseline)} ({tables.describe(study, baseline)})"
        page.add(f"Paired differences from {escape(cell)}:")
        names = [tables.label(study, baseline), *(peer.name for peer in study.peers)]
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


def variance(analysis: Analysis, page: Page) -> None:
    """How much each axis explains, in balanced grids."""
    if not analysis.variance:
        return
    study = analysis.study
    names = [tables.words(study.axes)[axis] for axis in effects.varied(study)]
    page.head("How much each axis explains")
    page.add(
        "Analysis of variance of the balanced grid with seeds as blocks. Partial η² is the share of the "
        "variance, seeds and other effects set aside, that goes with an effect, estimated by partial ω² "
        "(Hays, 1963), which corrects the upward bias of small studies, with the 95 % interval that inverts "
        "the noncentral F distribution (Steiger, 2004). F tests take equal spread in all cells for granted, "
        "which collapsed cells do not have."
    )
    rows, lines = [], []
    for measure, found in analysis.variance.items():
        for effect in found.effects:
            row = {
                "measure": measure.label,
                "effect": " × ".join(names[axis] for axis in effect.axes),
                "partial η²": f"{effect.partial_eta_squared:.3f} [{effect.low:.3f}, {effect.high:.3f}]",
                "F": f"{effect.f:.1f}",
                "df": f"{effect.freedom}, {found.residual_freedom}",
                "p": markdown.p_value(effect.p),
                "n": str(found.n),
            }
            rows.append(row)
            exact = {"partial η²": effect.partial_eta_squared, "low": effect.low, "high": effect.high}
            lines.append(row | exact | {"F": effect.f, "p": effect.p})
    page.add(markdown.table(rows), f"As CSV: {page.keep('variance', pd.DataFrame(lines))}.")


def trades(analysis: Analysis, page: Page) -> None:
    """What cannot be had together: the Pareto front."""
    study, traded = analysis.study, analysis.traded
    if len(traded) < 2 or not analysis.front.any() or len(study.cells) < 3:
        return
    page.head("Trade-offs")
    names = [tables.label(study, cell) for cell in range(len(study.cells))]
    points = []
    for measure in traded:
        values = study.comparable(measure)
        points.append((stats.means(values), *stats.intervals(values, ends=measure.ends)))
    labels = [measure.label for measure in traded]
    page.add(
        f"Orange: the {int(analysis.front.sum())} cells that no other surely beats on {', '.join(labels)} "
        "together. A cell is off the front where another's mean is at least as high on all of them and its "
        "95 % interval lies wholly above on one."
    )
    page.show(
        "trade",
        plots.trade(points, traded, names, analysis.front),
        f"{labels[0]} against {' and '.join(labels[1:])}, a point a cell",
    )
    rows = [
        {"cell": f"{names[cell]} ({tables.describe(study, int(cell))})"}
        | {
            measure.heading: measure.show(point[0][cell])
            for measure, point in zip(traded, points, strict=True)
        }
        for cell in np.flatnonzero(analysis.front)
    ]
    page.rows(rows, LONG, "[table.csv](table.csv)")


def choosing(analysis: Analysis, page: Page) -> None:
    """What rules that see no labels choose, and what that costs."""
    if not analysis.choices:
        return
    study, measure = analysis.study, analysis.compared[0]
    page.head("Choosing without labels")
    held_out = any(run.record.data.validation for run in study.runs)
    page.add(
        "Each rule chooses a cell in every seed, by numbers of "
        + ("training or of the validation split" if held_out else "training: no images were held out")
        + f". Its cost is counted from the cell with the highest mean test {measure.label} over the *other* "
        "seeds (a cross-fitted oracle): the best cell of the same seed is best by luck, too. A cost below "
        "zero is a gain from choosing within the seed. p: one-sided test that no fixed cell has more than "
        "what is chosen, by sign flips of seeds, adjusted over cells and over the rules that compare bounds "
        "(max-T, Westfall & Young 1993)."
    )
    rows = [
        {
            "rule": f"{choice.rule.name} ({choice.rule.words})",
            "chooses most": f"cell {tables.label(study, choice.cell)}, {choice.times} of {choice.n}",
            f"mean {measure.label}": measure.show(choice.value),
            "cost against the oracle of other seeds": measure.show(choice.cost),
            "p": markdown.p_value(choice.p),
            "n": str(choice.n),
        }
        for choice in sorted(analysis.choices, key=lambda choice: np.nan_to_num(choice.cost))
    ]
    frame = pd.DataFrame(rows)
    page.add(markdown.table(rows), f"As CSV: {page.keep('selection', frame)}.")


def runs(analysis: Analysis, page: Page) -> None:
    """What the experts of the best and the worst run draw, and which classes they take."""
    study = analysis.study
    alike = [run for run in study.runs if run.likelihood == study.likelihood and run.complete]
    judge, some = judging.judge(alike), ""
    if judge is None and (own := [run for run in alike if run.cell == (study.baseline or 0)]):
        alike = [run for run in alike if run.objective == own[0].objective]
        judge = judging.judge(alike)
        some = (
            ", among the runs of its objective" if judge is judging.LOSS else ", among the runs of its images"
        )
    found = [run for run in alike if judge is not None and judge.has(run)]
    if not alike:
        return
    page.head("The experts of the best and the worst run")
    if judge is None:
        page.add(judging.REFUSAL)
        return
    best, worst = max(found, key=judge.score), min(found, key=judge.score)
    page.add(
        f"The best run has {judge.words}{some}: chosen without labels and without the test split. The worst "
        "run is the other end of the same order."
    )
    for name, run in (("best", best), ("worst", worst))[: 1 + (best is not worst)]:
        numbers = ", ".join(
            f"{measure.label} {measure.show(run.metrics[measure.key])}" for measure in analysis.compared
        )
        page.add(
            f"**The {name} run**, {judge.show(run)}: "
            f"cell {tables.label(study, run.cell)} ({escape(tables.describe(study, run.cell))}), "
            f"seed {run.seed}; on the test split {numbers}. Record `{run.record.fingerprint}`."
        )
        _pictures(study, page, run, name)


def _pictures(study: Study, page: Page, run: Run, name: str) -> None:
    names = {"samples": ("epoch", "expert"), "reconstructions": ("", "test image")}
    words = {
        "samples": f"What each expert of the {name} run draws, by epoch",
        "reconstructions": f"Test images and their reconstructions by the {name} run",
    }
    for kind, picture in sorted(run.record.pictures.items(), reverse=True):
        drawn = run_plots.grid(study.folder / "records", picture, names.get(kind, ("", "")))
        if drawn is None:
            page.add(f"The {escape(kind)} of the {name} run cannot be shown: the file is no such picture.")
            continue
        page.show(f"{name} {kind}", drawn, words.get(kind, f"{kind} of the {name} run"))
    table = run.record.confusion
    if table is not None:
        page.show(
            f"{name} confusion",
            run_plots.confusion(np.array(table.counts), table.classes),
            f"Test images of the {name} run by expert (rows) and class (columns)",
        )
        by_epoch = calibration.history(study, run)
        if len(by_epoch) > 1:
            spread = np.unique(np.geomspace(1, len(by_epoch), 6).round().astype(int)) - 1
            epochs = [list(by_epoch)[place] for place in spread]
            page.show(
                f"{name} confusion by epoch",
                run_plots.confusions({epoch: by_epoch[epoch] for epoch in epochs}, table.classes),
                f"Validation images of the {name} run by expert (rows) and class (columns), over training",
            )


SECTIONS: tuple[Callable[[Analysis, Page], None], ...] = (
    results,
    outlying.outlying,
    beside_peers,
    axes.effect_of_each,
    axes.heat_maps,
    variance,
    trades,
    choosing,
    restarts.restarting,
    against_baseline,
    bounds.ledger,
    runs,
    calibration.calibration,
    calibration.sharing,
)
"""In the order of the page."""
