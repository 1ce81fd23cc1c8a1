"""The caption of the performance profiles counts the cells that have colors of their own."""

from __future__ import annotations

import re

import pytest

from studies.analysis.analyze import analyze
from studies.analysis.load import load_study
from studies.report import plots
from studies.report.page import Page
from studies.report.sections.cells.profiles import performance_profiles
from studies.testing import synthetic

WEIGHTS = [float(weight) for weight in range(1, 11)]
"""Balancing weights of the cells, from the lowest NMI to the highest."""


def rising(config):
    """The NMI of a run is a tenth of its balancing weight, apart from noise."""
    tree, files = synthetic.record(config, pictures=False)
    tree["metrics"]["test"]["nmi"] = config.objective.balance_weight / 10 - 0.001 * config.seed
    return tree, files


@pytest.mark.parametrize("reference", [1.0, 10.0], ids=["lowest", "highest"])
def test_the_colored_cells_are_the_highest_ones_and_the_reference_cell(reference, tmp_path, monkeypatch):
    study = synthetic.plan(
        {"objective.balance_weight": WEIGHTS}, range(3), baseline={"objective.balance_weight": reference}
    )
    shown: list[str] = []
    drawn = plots.profiles

    def noted(panels, names, *rest):
        shown.extend(names)
        return drawn(panels, names, *rest)

    monkeypatch.setattr(plots, "profiles", noted)
    page = Page()
    performance_profiles(analyze(load_study(synthetic.write(tmp_path, study, rising))), page)
    colored = [WEIGHTS[cell] for cell, name in enumerate(shown) if name]
    caption = page.blocks[-1]
    highest = int(re.search(r"Colored: the (\d+) with the highest mean NMI", caption)[1])
    assert set(colored) == {reference, *WEIGHTS[-highest:]}
    assert ("and the reference cell" in caption) is (reference not in WEIGHTS[-highest:])
