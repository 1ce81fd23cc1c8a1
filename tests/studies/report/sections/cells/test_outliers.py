"""A diverged run is named; the median and the interquartile mean are shown next to the distorted mean."""

from __future__ import annotations

import numpy as np
import pytest

from moevae.config import overrides
from moevae.config.schema import RunConfig
from studies.analysis import metrics
from studies.analysis.analyze import analyze
from studies.analysis.load import load_study
from studies.report.page import Page
from studies.report.sections.cells.outliers import outliers
from studies.report.tables import result_rows
from studies.testing import synthetic

SEEDS = range(10)
DIVERGED = -440.0


def diverging(config: RunConfig):
    """One seed of the baseline cell ends far below the others."""
    tree, files = synthetic.record(config, pictures=False)
    tree["metrics"]["test"]["nmi"] = 0.5 + 0.01 * (config.seed % 5)
    for name in ("ari", "acc"):
        tree["metrics"]["test"][name] = 0.3 + 0.01 * (config.seed % 5)
    bound = -250.0 + 0.1 * np.sin(config.seed)
    if config.seed == 4 and config.routing.kind == "hard":
        bound = DIVERGED
    tree["metrics"]["test"]["mixture_elbo"] = float(bound)
    return tree, files


@pytest.fixture
def analysis(tmp_path):
    plan = synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=SEEDS)
    return analyze(load_study(synthetic.write(tmp_path, plan, diverging)))


def rows_of(block: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by heading."""
    head, _, *rest = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
    return [dict(zip(head, line, strict=True)) for line in rest]


def test_the_diverged_run_is_named_next_to_numbers_that_it_does_not_move(analysis) -> None:
    page = Page()
    outliers(analysis, page)
    (row,) = rows_of(page.blocks[-1])
    values = np.array([-250.0 + 0.1 * np.sin(seed) for seed in SEEDS])
    diverged = np.where(np.array(SEEDS) == 4, DIVERGED, values)
    assert (row["cell"], row["n"]) == ("2", "10")
    assert row["outliers"].replace("\\", "") == "-440.00 (seed 4)"
    assert float(row["mean"]) == pytest.approx(diverged.mean(), abs=0.005)
    assert float(row["mean of the others"]) == pytest.approx(np.delete(values, 4).mean(), abs=0.005)
    assert float(row["median"]) == pytest.approx(np.median(diverged), abs=0.005)
    assert float(row["IQM"]) == pytest.approx(-250.0, abs=0.1)


def test_only_its_cell_is_marked(analysis) -> None:
    rows = result_rows(analysis.study, analysis.table, analysis.leading)
    marked = {(row["cell"], key) for row in rows for key, text in row.items() if "†" in text}
    assert marked == {("2 (reference)", metrics.ELBO.heading)}


def test_no_outlier_is_reported_where_no_run_is_far_from_the_others(tmp_path) -> None:
    def make(config: RunConfig):
        return (
            diverging(overrides.override(config, {"routing.kind": "soft"}))
            if config.seed == 4
            else diverging(config)
        )

    plan = synthetic.plan({"routing.kind": ["soft"]}, seeds=SEEDS)
    page = Page()
    outliers(analyze(load_study(synthetic.write(tmp_path, plan, make))), page)
    assert (page.blocks, page.files) == ([], {})


def test_the_front_weighs_qualities_and_no_speed(tmp_path) -> None:
    def make(config: RunConfig):
        tree, files = diverging(config)
        better = config.objective.balance_weight
        tree["metrics"]["test"] |= {
            "nmi": 0.01 * better + 0.001 * config.seed,
            "mixture_elbo": better - 0.01 * config.seed,
        }
        tree["throughput"]["train_images_per_second"] = 40_000.0 - 100 * better  # the worse, the faster
        return tree, files

    plan = synthetic.plan({"objective.balance_weight": [1.0, 5.0, 20.0]}, seeds=SEEDS)
    found = analyze(load_study(synthetic.write(tmp_path, plan, make)))
    assert found.compared == (metrics.NMI, metrics.ELBO)
    assert found.front.tolist() == [False, False, True]
