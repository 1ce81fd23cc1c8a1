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


def test_numbers_are_shown_to_their_digits_and_huge_ones_by_powers_of_ten():
    values = (-0.004, 1234.5, -9_999_999.4, 1e7, -1.6921e10, float("nan"))
    shown = ["0.00", "1,234.50", "-9,999,999.40", "1.00e+07", "-1.69e+10", "–"]
    assert [metrics.ELBO.show(value) for value in values] == shown
