from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic
from markdown_it import MarkdownIt

from moevae.config import RunConfig
from studies import measures, tables
from studies.loading import load


def cells_of(markdown: str) -> list[list[str]]:
    """The texts of a Markdown table, read by an independent parser."""
    rows: list[list[str]] = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


@pytest.mark.parametrize("text", ["a|b", "*a*_b_", "`a`", "<b>", "[x](y)", "a\\|b", "$x$", "~~a~~", "#1"])
def test_any_name_is_shown_letter_for_letter(text: str) -> None:
    assert cells_of(tables.markdown([{text: text, "other": "1"}])) == [[text, "other"], [text, "1"]]


def test_the_mean_and_spread_of_each_cell_are_those_of_pandas(tmp_path) -> None:
    lost = {3, 10}
    made = []

    def make(config: RunConfig):
        tree, files = synthetic.record(config, pictures=False)
        made.append((config, tree))
        if len(made) in lost:
            return synthetic.failed(config), {}
        return tree, files

    study = load(synthetic.write(tmp_path, synthetic.plan(), make))
    frame = tables.cell_table(study, measures.LEADING)
    kept = pd.DataFrame(
        {
            "weight": config.objective.balance_weight,
            "temperature": config.routing.temperature,
            "kind": config.routing.kind,
            "nmi": tree["metrics"]["test"]["nmi"],
        }
        for number, (config, tree) in enumerate(made, 1)
        if number not in lost
    )
    oracle = kept.groupby(["weight", "temperature", "kind"], sort=False)["nmi"].agg(["mean", "std", "count"])
    np.testing.assert_allclose(frame["test.nmi mean"], oracle["mean"])
    np.testing.assert_allclose(frame["test.nmi std"], oracle["std"])
    assert frame["test.nmi n"].tolist() == oracle["count"].tolist()
    assert frame["failed"].sum() == 2


def test_a_cell_of_one_run_has_a_mean_and_no_spread() -> None:
    assert tables.plus_minus(measures.NMI, 0.5, float("nan")) == "0.500"
    assert tables.plus_minus(measures.NMI, float("nan"), float("nan")) == "–"


def test_axes_are_called_by_words_that_tell_them_apart() -> None:
    axes = ("data.name", "routing.kind", "objective.balance_weight", "model.expert_hidden")
    assert list(tables.words(axes).values()) == [
        "data name",
        "routing kind",
        "balance weight",
        "expert hidden",
    ]
