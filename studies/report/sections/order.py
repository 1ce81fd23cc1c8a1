"""Order of the sections about one data set."""

from __future__ import annotations

from collections.abc import Callable

from studies.analysis.analyze import Analysis
from studies.report.page import Page
from studies.report.sections import bounds, calibration, class_overlap, consensus, outlying, restarts
from studies.report.sections import effects as axes
from studies.report.sections.anova import analysis_of_variance
from studies.report.sections.comparisons import baseline_comparison, paired_differences
from studies.report.sections.results import results
from studies.report.sections.runs import runs
from studies.report.sections.selection import model_selection
from studies.report.sections.tradeoffs import pareto_front

SECTIONS: tuple[Callable[[Analysis, Page], None], ...] = (
    results,
    outlying.outlying,
    baseline_comparison,
    axes.axis_effects,
    axes.heat_maps,
    analysis_of_variance,
    pareto_front,
    model_selection,
    restarts.best_of_restarts,
    consensus.consensus_of_runs,
    paired_differences,
    bounds.elbo_decomposition,
    runs,
    calibration.calibration,
    class_overlap.shared_experts,
    class_overlap.merged_and_split,
)
"""Sections in the order of the page."""
