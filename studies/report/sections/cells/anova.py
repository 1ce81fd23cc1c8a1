"""Section: analysis of variance."""

from __future__ import annotations

from studies.analysis import effects
from studies.analysis.analyze import Analysis
from studies.report import markdown, tables
from studies.report.page import Page


def analysis_of_variance(analysis: Analysis, page: Page) -> None:
    """Add the analysis of variance of a balanced grid."""
    if not analysis.variance:
        return
    study = analysis.study
    names = [tables.axis_names(study.axes)[axis] for axis in effects.varied(study)]
    page.head("Analysis of variance")
    page.add(
        "The analysis covers the cells of the grid. Seeds are blocks: differences between them are removed "
        "first. Partial η² is the share of variance "
        "explained by an effect after seeds and all other effects are removed. It is estimated by partial ω² "
        "(Hays, 1963), which corrects the upward bias in small studies. Its 95 % interval inverts the "
        "noncentral F distribution (Steiger, 2004). F tests assume equal variance in all cells; collapsed "
        "cells violate this assumption."
    )
    rows = []
    for measure, found in analysis.variance.items():
        for effect in found.effects:
            rows.append(
                {
                    "measure": measure.label,
                    "effect": " × ".join(names[axis] for axis in effect.axes),
                    "partial η²": f"{effect.partial_eta_squared:.3f} [{effect.low:.3f}, {effect.high:.3f}]",
                    "F": f"{effect.f:.1f}",
                    "df": f"{effect.freedom}, {found.residual_freedom}",
                    "p": markdown.p_value(effect.p),
                    "n": str(found.n),
                }
            )
    page.add(markdown.table(rows))
