"""Heat maps of a report: of pairs of axes, few enough to read."""

import re

from studies.report.build import write_report
from studies.testing import synthetic


def test_heat_maps_are_few_and_have_titles(tmp_path, undrawn) -> None:
    axes = {
        "objective.balance_weight": [0.0, 20.0],
        "routing.temperature": [0.5, 1.0],
        "routing.kind": ["soft", "hard"],
        "train.learning_rate": [1e-4 * level for level in range(1, 10)],
    }
    page = write_report(synthetic.write(tmp_path, synthetic.plan(axes, seeds=(0, 1)))).read_text()
    assert "with learning rate 0.0009. [table.csv](table.csv) contains all cells." in page
    (drawn,) = re.findall(r"!\[(.*)\]\(figures/heat-maps\.png\)", page)
    assert drawn.count("by balance weight and temperature") == 2
    assert "All 71 rows" not in page
    assert "<summary>71 rows</summary>" in page


def test_one_axis_at_a_time_needs_no_heat_map(tmp_path, undrawn) -> None:
    axes = {"objective.balance_weight": [0.0, 5.0, 20.0], "routing.temperature": [0.5, 1.0, 2.0]}
    plan = synthetic.plan(axes, seeds=(0, 1))
    star = [c for c in plan["cells"] if c["objective.balance_weight"] == 20 or c["routing.temperature"] == 1]
    pages = [
        write_report(synthetic.write(tmp_path / name, plan | {"cells": cells})).read_text()
        for name, cells in (("star", star), ("grid", plan["cells"]))
    ]
    assert all("Effect of temperature" in page for page in pages)
    assert ["Balance weight and temperature" in page for page in pages] == [False, True]
