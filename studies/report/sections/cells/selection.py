"""Section: model selection without labels."""

from __future__ import annotations

import numpy as np

from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.analysis.selection import NO_CHOICE
from studies.report import markdown
from studies.report.page import Page


def model_selection(analysis: Analysis, page: Page) -> None:
    """Add the choices of rules that use no labels, and their costs."""
    if all(choice.rule is NO_CHOICE for choice in analysis.choices):
        return
    study, measure = analysis.study, analysis.compared[0]
    page.head("Unsupervised model selection")
    held_out = any(run.record.data.validation for run in study.runs)
    page.add(
        "Each rule selects one cell per seed without labels, from metrics of "
        + ("training or of the validation split" if held_out else "training (no images were held out)")
        + f". Its cost is the difference to the cell with the highest mean test {measure.label} over the "
        "*other* seeds (a cross-fitted oracle); the best cell of the same seed would be biased upward. A "
        "negative cost means that selection within the seed gains. p: one-sided sign-flip test of whether a "
        "fixed cell exceeds the selection, adjusted over cells and over the rules that compare bounds "
        "(max-T, Westfall & Young 1993)."
    )
    rows = [
        {
            "rule": f"{choice.rule.name} ({choice.rule.words})",
            "chooses most": f"cell {cell_stats.label(study, choice.cell)}, {choice.times} of {choice.n}",
            f"mean {measure.label}": measure.show(choice.value),
            "cost against the oracle of other seeds": measure.show(choice.cost),
            "p": markdown.p_value(choice.p),
            "n": str(choice.n),
        }
        for choice in sorted(analysis.choices, key=lambda choice: np.nan_to_num(choice.cost))
    ]
    page.add(markdown.table(rows))
