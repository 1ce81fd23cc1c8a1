from __future__ import annotations

import numpy as np
import pandas as pd

from moevae.config.schema import RunConfig
from studies.analysis import cell_stats, metrics
from studies.analysis.load import load_study
from studies.report import tables
from studies.testing import synthetic


def test_the_mean_and_spread_of_each_cell_are_those_of_pandas(tmp_path) -> None:
    lost = {3, 10}
    made = []

    def make(config: RunConfig):
        tree, files = synthetic.record(config, pictures=False)
        made.append((config, tree))
        if len(made) in lost:
            return synthetic.failed(config), {}
        return tree, files

    study = load_study(synthetic.write(tmp_path, synthetic.plan(), make))
    frame = cell_stats.cell_table(study, metrics.shown_on("leading"))
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
    assert frame["throughput.train n"].tolist() == oracle["count"].tolist()
    rows = tables.result_rows(study, frame, metrics.shown_on("leading"))
    assert [row["cell"].split()[0] for row in rows] == [
        str(cell + 1) for cell in np.argsort(-frame["test.nmi mean"].to_numpy(), kind="stable")
    ]
    assert [row["cell"] for row in rows if "(" in row["cell"]] == ["24 (reference)"]


def test_a_cell_of_one_run_has_a_mean_and_no_spread() -> None:
    nan = float("nan")
    assert tables.spread(metrics.NMI, 0.5, nan) == "0.500"
    assert tables.spread(metrics.NMI, 0.5, 0.0) == "0.500 ± 0.000"
    assert tables.spread(metrics.NMI, 0.5, 0.1, 0.4, 0.6) == "0.500 ± 0.100\n[0.400, 0.600]"
    assert tables.spread(metrics.NMI, nan, nan) == "–"
    assert tables.spread(metrics.NMI, -0.0001, nan) == "0.000"


def test_labels_of_axes_are_distinct() -> None:
    axes = ("data.name", "routing.kind", "objective.balance_weight", "model.expert_hidden")
    assert list(tables.axis_names(axes).values()) == [
        "data name",
        "routing kind",
        "balance weight",
        "expert hidden",
    ]


MANY: dict[str, list] = {
    "model.num_experts": [5, 3],
    "model.latent_dim": [8, 4],
    "model.activation": ["relu", "silu"],
    "objective.balance_weight": [20.0, 5.0],
    "routing.temperature": [1.0, 2.0],
    "routing.kind": ["soft", "hard"],
    "train.epochs": [2, 3],
    "train.batch_size": [64, 32],
    "train.learning_rate": [0.002, 0.001],
}
"""Axes with two levels each; the first is that of the reference cell."""


def one_at_a_time(axes: dict[str, list]) -> dict:
    usual = {axis: levels[0] for axis, levels in axes.items()}
    cells = [usual, *({**usual, axis: levels[1]} for axis, levels in axes.items())]
    return synthetic.plan(axes, cells=cells, baseline=usual)


def test_with_many_axes_a_cell_is_described_by_its_changes_from_the_reference_cell(tmp_path):
    study = load_study(synthetic.write(tmp_path, one_at_a_time(MANY)))
    described = {tables.describe(study, cell) for cell in range(len(study.cells))}
    names = tables.axis_names(MANY)
    changed = {f"{names[axis]} {study.texts[axis][1]}" for axis in MANY}
    assert described == {"reference cell"} | changed
    frame = cell_stats.cell_table(study, metrics.shown_on("leading"))
    rows = tables.result_rows(study, frame, metrics.shown_on("leading"))
    assert {row["setting"] for row in rows} == described
    assert not {*names.values()} & {*rows[0]}
    assert tables.describe_all(study, 0).count(", ") == len(MANY) - 1


def test_with_few_axes_each_has_a_column(tmp_path):
    few = dict(list(MANY.items())[:3])
    study = load_study(synthetic.write(tmp_path, one_at_a_time(few)))
    frame = cell_stats.cell_table(study, metrics.shown_on("leading"))
    for row in tables.result_rows(study, frame, metrics.shown_on("leading")):
        assert {*tables.axis_names(few).values()} <= {*row}
    assert tables.describe(study, 0) == tables.describe_all(study, 0)


def test_numbers_are_shown_to_their_digits_and_huge_ones_by_powers_of_ten():
    values = (-0.004, 1234.5, -9_999_999.4, 1e7, -1.6921e10, float("nan"))
    shown = ["0.00", "1,234.50", "-9,999,999.40", "1.00e+07", "-1.69e+10", "–"]
    assert [metrics.ELBO.show(value) for value in values] == shown
