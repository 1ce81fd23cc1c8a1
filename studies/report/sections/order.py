"""Order of the sections about one data set."""

from __future__ import annotations

from collections.abc import Callable

from studies.analysis.analyze import Analysis
from studies.report.page import Page
from studies.report.sections import bounds, calibration, class_overlap, outlying, restarts
from studies.report.sections import effects as axes
from studies.report.sections.anova import variance
from studies.report.sections.comparisons import against_baseline, beside_peers
from studies.report.sections.results import results
from studies.report.sections.runs import runs
from studies.report.sections.selection import choosing
from studies.report.sections.tradeoffs import trades

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
    class_overlap.sharing,
)
"""Sections in the order of the page."""
