from __future__ import annotations

import re

import numpy as np
import pytest

from studies.analysis.load import load_study
from studies.report.literature import published, section
from studies.report.page import Page
from studies.testing import synthetic


def test_every_score_is_a_share_and_every_row_names_its_source() -> None:
    for row in published().clustering:
        assert row.source
        scores = [row.acc, row.nmi, row.ari, row.purity]
        assert any(scores)
        for score in filter(None, scores):
            assert all(0 < float(part) < 1 for part in score.split(" ± "))
    assert all(row.source and re.search(r"\d", row.value) for row in published().likelihood)


def test_purity_is_never_in_the_column_of_acc() -> None:
    assert all(not (row.acc and row.purity) for row in published().clustering)
    assert [row.method for row in published().clustering if row.purity] == [
        "GMVAE, K = 10",
        "M2, K = 10 (gate collapsed)",
    ]


@pytest.mark.parametrize(("data", "rows"), [("mnist", 25), ("fashion-mnist", 11), ("digits", 0)])
def test_only_rows_of_the_studys_data_are_shown(tmp_path, data: str, rows: int) -> None:
    page = Page()
    folder = synthetic.write(tmp_path, synthetic.plan({"data.name": [data]}, seeds=[]))
    section(load_study(folder), page)
    assert len(re.findall(rf"\| {data} +\|", page.text())) == rows
    assert ("## Literature values" in page.text()) == bool(rows)


@pytest.mark.parametrize(("measured", "pixels"), [(True, "dynamic"), (False, "dynamic"), (True, "none")])
def test_likelihoods_are_shown_where_that_of_binary_pixels_is_measured(tmp_path, measured, pixels) -> None:
    def make(config):
        extra = {"iwae_bound": -90.0} if measured else {}
        numbers = synthetic.numbers(config, np.random.default_rng(0)) | extra
        return synthetic.record(config, metrics=numbers)

    page = Page()
    plan = synthetic.plan({"data.name": ["mnist"], "data.binarization": [pixels]}, seeds=[0])
    section(load_study(synthetic.write(tmp_path, plan, make)), page)
    rows = len(re.findall(r"\| mnist, ", page.text()))
    shown = measured and pixels != "none"
    assert rows == shown * len([row for row in published().likelihood if row.data == "mnist"])
