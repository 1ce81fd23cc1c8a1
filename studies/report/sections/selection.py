"""Section: model selection without labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.report import markdown
from studies.report.page import Page


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
            "chooses most": f"cell {cell_stats.label(study, choice.cell)}, {choice.times} of {choice.n}",
            f"mean {measure.label}": measure.show(choice.value),
            "cost against the oracle of other seeds": measure.show(choice.cost),
            "p": markdown.p_value(choice.p),
            "n": str(choice.n),
        }
        for choice in sorted(analysis.choices, key=lambda choice: np.nan_to_num(choice.cost))
    ]
    frame = pd.DataFrame(rows)
    page.add(markdown.table(rows), f"As CSV: {page.keep('selection', frame)}.")
