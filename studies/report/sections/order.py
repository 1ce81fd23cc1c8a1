"""Order of the sections about one data set."""

from __future__ import annotations

from collections.abc import Callable

from studies.analysis.analyze import Analysis
from studies.report.page import Page
from studies.report.sections.cells import effects as axes
from studies.report.sections.cells import outliers, profiles
from studies.report.sections.cells.anova import analysis_of_variance
from studies.report.sections.cells.comparisons import baseline_comparison, paired_differences
from studies.report.sections.cells.pareto_front import pareto_front
from studies.report.sections.cells.results import results
from studies.report.sections.cells.selection import model_selection
from studies.report.sections.runs import bounds, calibration, class_overlap, consensus, restarts, samples
from studies.report.sections.runs.examples import runs

SECTIONS: tuple[Callable[[Analysis, Page], None], ...] = (
    results,
    profiles.performance_profiles,
    outliers.outliers,
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
    samples.distances,
    calibration.calibration,
    class_overlap.shared_experts,
    class_overlap.merged_and_split,
)
"""Sections in the order of the page."""
