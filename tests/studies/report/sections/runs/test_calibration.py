"""The section on merged and split classes, from confusion tables made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moevae.config.overrides import override
from moevae.config.presets import digits
from moevae.config.schema import RunConfig
from moevae.visualization.confusions import confusions
from studies.analysis.load import load_study
from studies.report.build import write_report
from studies.report.sections.runs import class_overlap
from studies.testing import synthetic

APART, TOGETHER = 9 * np.eye(4, 3, dtype=int), np.array([[9, 9, 0], [0, 0, 0], [0, 0, 5], [0, 0, 4]])
"""Of three classes by four experts: each its own; 4 and 9 together, and 7 split."""
CLASSES = ["4", "9", "7"]
HISTORIES = {0: [APART, TOGETHER, TOGETHER], 1: [TOGETHER, APART, APART], 2: [TOGETHER, TOGETHER, TOGETHER]}


def made(config: RunConfig):
    tree, files = synthetic.record(config, pictures=False)
    history = HISTORIES[config.seed]
    curve = {name: tree["curve"][name][: len(history)] for name in ("epoch", "loss", "temperature")}
    curve["confusion"] = [";".join(" ".join(map(str, row)) for row in counts) for counts in history]
    confusion = {"classes": CLASSES, "counts": history[-1].tolist()}
    return {**tree, "curve": curve, "confusion": confusion}, files


PLAN = synthetic.plan({"routing.kind": ["soft"]}, base=override(digits(), {"model.num_experts": 4}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("shared"), PLAN, made)


def test_the_page_counts_merged_and_split_classes(folder: Path, undrawn) -> None:
    page = write_report(folder).read_text()
    section = page.split("## Merged and split classes")[1].split("\n## ")[0]
    assert "1 of the 3 runs of cell 1 end with neither" in section
    lines = [line for line in section.splitlines() if "of 3 runs" in line and line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows == [
        ["4 and 9 share an expert", "2 of 3 runs", "3 of 3 runs", "1.5"],
        ["7 is split", "2 of 3 runs", "3 of 3 runs", "1.5"],
    ]
    (drawn,) = (line for line in page.splitlines() if line.endswith("(figures/best-confusion.png)"))
    assert ["Test images" in drawn, "Validation images" in drawn] == [True, True]


def test_without_held_out_images_training_is_not_described(tmp_path, undrawn) -> None:
    def unseen(config: RunConfig):
        tree, files = made(config)
        return {**tree, "curve": {**tree["curve"], "confusion": []}}, files

    page = write_report(synthetic.write(tmp_path, PLAN, unseen)).read_text()
    section = page.split("## Merged and split classes")[1].split("\n## ")[0]
    assert "| 7 is split" in section
    assert "2 of 3 runs" in section
    assert "while it trained" not in section
    assert "since epoch" not in section


def test_a_history_is_what_the_record_holds(folder: Path) -> None:
    study = load_study(folder)
    for run in study.runs:
        found = class_overlap.history(study, run)
        assert list(found) == [1, 2, 3]
        for counts, expected in zip(found.values(), HISTORIES[run.seed], strict=True):
            assert np.array_equal(counts, expected)


def test_a_panel_an_epoch() -> None:
    small, large = (confusions(dict(enumerate([APART] * count, 1)), CLASSES).image for count in (1, 6))
    assert large.width > 1.6 * small.width  # the color key has the same width in both
    assert large.height > 1.5 * small.height
