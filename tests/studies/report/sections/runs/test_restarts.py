"""Restarts keep the run with the best bound of each group, and see neither a label nor the test split."""

import numpy as np
import pytest

from moevae.config.overrides import override
from moevae.config.presets import digits
from studies.analysis import criteria, load, restarts
from studies.report.build import write_report
from studies.testing import synthetic

pytestmark = pytest.mark.usefixtures("undrawn")

BOUNDS = [-5.0, -1.0, -3.0, -4.0, -2.0, -6.0, -9.0]
NMI = [0.1, 0.2, 0.9, 0.3, 0.8, 0.7, 0.6]
"""By seed; the best bound never has the best NMI of its pair but once."""


GATE_LOSSES = [3.0, 2.0, 1.0, 7.0, 6.0, 5.0, 4.0]


def folder(path, failing=(), of_gate=()):
    def make(config):
        if config.seed in failing:
            return synthetic.failed(config), {}
        numbers = synthetic.numbers(config, np.random.default_rng(0))
        tree, files = synthetic.record(
            config, metrics=numbers | {"mixture_elbo": BOUNDS[config.seed], "nmi": NMI[config.seed]}
        )
        if config.seed in of_gate:
            losses = [GATE_LOSSES[config.seed] + epoch for epoch in tree["curve"]["epoch"]]
            tree["curve"]["metrics"]["gate_loss"] = losses
        return tree, files

    base = override(digits(), {"train.epochs": 2})
    tree = synthetic.plan({"routing.kind": ["soft"]}, range(len(BOUNDS)), base=base)
    return synthetic.write(path, tree, make)


def seeds_kept(path, size):
    study = load.load_study(path)
    return [run.seed for run in restarts.select_best(study.of_cell(0), size, criteria.BOUND.score)]


def shown(made):
    """The cells of the page's table of restarts, row by row, heads first."""
    write_report(made)
    section = (made / "report.md").read_text().split("## Best of n restarts, selected without labels")[1]
    rows = [line.split("|") for line in section.split("\n## ")[0].splitlines() if line.startswith("| ")]
    return [[part.strip() for part in row[1:-1]] for row in rows]


def test_each_group_keeps_its_best_bound_independently_of_labels(undrawn, tmp_path):
    made = folder(tmp_path)
    assert seeds_kept(made, 1) == [0, 1, 2, 3, 4, 5, 6]
    assert seeds_kept(made, 2) == [1, 2, 4]  # seed 6 has no partner
    assert seeds_kept(made, 3) == [1, 4]


def test_a_group_may_keep_the_run_whose_gate_has_the_lowest_loss_of_its_own(tmp_path):
    study = load.load_study(folder(tmp_path, failing=(2,), of_gate=range(7)))
    seeds = [
        [run.seed for run in restarts.select_best(study.of_cell(0), size, criteria.GATE.score)]
        for size in (2, 3)
    ]
    assert seeds == [[1, 3, 5], [1, 5]]


def test_the_page_reports_both_criteria_where_gates_have_losses_of_their_own(tmp_path):
    names = [row[0] for row in shown(folder(tmp_path, of_gate=range(7)))[1:]]
    assert names == ["1 run, no selection", "2 runs, by validation ELBO", "2 runs, by gate's training loss"]


def test_gates_judge_only_where_each_of_the_runs_kept_its_gates_loss(tmp_path):
    without = folder(tmp_path / "one without", failing=(6,), of_gate=range(1, 6))
    failed = folder(tmp_path / "all with, or failed", failing=(0, 6), of_gate=range(1, 6))
    assert [shown(each)[-1][0] for each in (without, failed)] == [
        "2 runs, by validation ELBO",
        "2 runs, by gate's training loss",
    ]


def test_a_failed_run_is_never_kept_and_a_group_of_them_keeps_none(tmp_path):
    made = folder(tmp_path, failing=(1, 4, 5))
    assert seeds_kept(made, 2) == [0, 2]


def test_the_page_reports_groups_of_one_and_two_of_seven_seeds(tmp_path):
    heads, *rows = shown(folder(tmp_path))
    assert [row[:2] for row in rows] == [["1 run, no selection", "7"], ["2 runs, by validation ELBO", "3"]]
    column = heads.index("NMI")
    assert rows[0][column].startswith("0.514 ± 0.313")
    assert rows[1][column].startswith("0.633 ± 0.379")
    assert [row[heads.index("lowest NMI")] for row in rows] == ["0.100", "0.200"]


def test_few_seeds_have_no_such_section(tmp_path):
    tree = synthetic.plan({"routing.kind": ["soft"]}, range(5))
    made = synthetic.write(tmp_path, tree)
    write_report(made)
    assert "restarts" not in (made / "report.md").read_text()
