"""Pairs of classes that share an expert, counted by cell, from confusions made by hand."""

import numpy as np
import pandas as pd

from moevae.config.overrides import override
from moevae.config.presets import digits
from studies.report.build import write_report
from studies.testing import synthetic

CLASSES = ["3", "5", "8", "0"]
APART = 9 * np.eye(4, dtype=int)
PAIR = np.array([[9, 9, 0, 0], [0, 0, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]])
THREE = np.array([[9, 9, 9, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9]])
HALF = np.array([[9, 4, 0, 0], [0, 4, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]])
"""Half of a class is not more than half."""
COUNTS = {"soft": [APART, PAIR, HALF], "hard": [THREE, PAIR, THREE]}
AXES = {"routing.kind": ["soft", "hard"]}
BASE = override(digits(), {"model.num_experts": 4})


def made(config):
    tree, files = synthetic.record(config, pictures=False)
    counts = COUNTS[config.routing.kind][config.seed]
    curve = {**tree["curve"], "confusion": []}
    return {**tree, "curve": curve, "confusion": {"classes": CLASSES, "counts": counts.tolist()}}, files


def section(page):
    return page.split("## Classes that share an expert")[1].split("\n## ")[0]


def test_each_cell_counts_its_runs(tmp_path, undrawn):
    folder = synthetic.write(tmp_path, synthetic.plan(AXES, base=BASE), made)
    text = section(write_report(folder).read_text())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["cell", "routing kind", "n", "pairs", "3 and 5", "3 and 8", "5 and 8"]
    assert rows[2:] == [
        ["all", "", "6", "1.33", "4", "2", "2"],
        ["1", "soft", "3", "0.33", "1", "0", "0"],
        ["2", "hard", "3", "2.33", "3", "2", "2"],
    ]
    table = pd.read_csv(folder / "tables" / "shared-experts.csv")
    assert table["runs"].sum() == 4 + 2 + 2
    assert set(table["of"]) == {3}
    assert len(table) == 2 * 3


def test_parts_of_two_data_sets_are_counted_apart(tmp_path, undrawn):
    axes = AXES | {"data.name": ["digits", "mnist"]}
    folder = synthetic.write(tmp_path, synthetic.plan(axes, base=BASE), made)
    page = write_report(folder).read_text()
    assert page.count("### Classes that share an expert") == 2
    table = pd.read_csv(folder / "tables" / "shared-experts.csv")
    assert table.groupby("data.name")["runs"].sum().to_dict() == {"digits": 8, "mnist": 8}


def test_without_labels_or_with_one_cell_there_are_no_sentences(tmp_path, undrawn):
    def unlabeled(config):
        return synthetic.record(config, labels=False, pictures=False)

    for name, plan, make in (
        ("one", synthetic.plan({"routing.kind": ["hard"]}, base=BASE), made),
        ("none", synthetic.plan(AXES, base=BASE), unlabeled),
    ):
        page = write_report(synthetic.write(tmp_path / name, plan, make)).read_text()
        assert "Classes that share an expert" not in page
