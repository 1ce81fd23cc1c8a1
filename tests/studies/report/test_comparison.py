"""Studies side by side, against scipy and numpy."""

import shutil

import numpy as np
import pytest
import scipy.stats

from moevae.errors import RecordError
from studies.__main__ import main
from studies.analysis.load import load_study
from studies.report import comparison
from studies.statistics import paired
from studies.testing import synthetic


@pytest.fixture
def results(tmp_path):
    for name, seeds, temperature in (("a", [0, 1, 2], [1.0, 2.0]), ("b", [1, 2, 5], [4.0])):
        plan = synthetic.plan({"routing.temperature": temperature}, seeds=seeds, name=name)
        synthetic.write(tmp_path / name, plan)
    return tmp_path


def side(results, name, number=None):
    (found,) = comparison.sides(load_study(results / name), number).values()
    return found


def test_shared_seeds_are_paired():
    first, second = {0: 0.1, 1: 0.5, 2: 0.2}, {1: 0.9, 2: 0.3, 5: 0.0}
    found = comparison.difference(first, second)
    deltas = np.array([0.4, 0.1])
    low, high = scipy.stats.t.interval(0.95, 1, deltas.mean(), scipy.stats.sem(deltas))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((0.25, low, high, 2))
    assert found.p == paired.sign_flip(deltas[:, None])[0]


def test_other_seeds_are_compared_by_welch():
    first, second = {0: 0.1, 1: 0.5, 2: 0.2}, {7: 0.9, 8: 0.3, 9: 0.0, 10: 0.4}
    found = comparison.difference(first, second)
    expected = scipy.stats.ttest_ind([*second.values()], [*first.values()], equal_var=False)
    assert (found.p, found.n) == (pytest.approx(expected.pvalue), 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert np.isnan(comparison.difference({0: 1.0}, {1: 2.0}).low)


def test_the_settings_that_differ_are_those_of_the_cells(results):
    first, second = side(results, "a", 2), side(results, "b")
    assert comparison.setting_rows([first, second]) == [
        {"setting": "routing.temperature", "a:2": "2", "b": "4"}
    ]
    (row, *_) = comparison.metric_rows(first, second)
    values = [first.values("test.nmi"), second.values("test.nmi")]
    difference = np.mean([values[1][seed] - values[0][seed] for seed in (1, 2)])
    assert row["metric"] == "NMI"
    assert float(row["difference [95 %]"].split()[0]) == pytest.approx(difference, abs=5e-4)


@pytest.mark.parametrize("images", [100, 200])
def test_importance_weighted_bounds_are_compared_for_the_same_images(tmp_path, images):
    def make(config):
        numbers = synthetic.numbers(config, np.random.default_rng(config.seed)) | {"iwae_bound": -19.0}
        return synthetic.record(config, metrics=numbers)

    for name, count in (("a", 100), ("b", images)):
        plan = synthetic.plan({"evaluation.iwae_images": [count]}, seeds=[0, 1], name=name)
        synthetic.write(tmp_path / name, plan, make)
    rows = comparison.metric_rows(side(tmp_path, "a"), side(tmp_path, "b"))
    shown = {row["metric"] for row in rows}
    assert ("IWAE bound (nats)" in shown) == (images == 100)
    assert "ELBO (nats)" in shown


def test_report_compares_cells_and_refuses_unknown_ones(results, capsys):
    where = ["report", "--results", str(results), "--compare"]
    assert main([*where, "a", "b"]) == 0
    assert "routing.temperature" in capsys.readouterr().out
    other = results / "before"
    other.mkdir()
    shutil.copytree(results / "a", other / "a")
    assert main([*where, "a", str(other / "a")]) == 0
    shown = capsys.readouterr().out
    assert "1: a" in shown
    assert "2: a" in shown
    for wrong in (["a"], ["a:3", "b"], ["a", "c"]):
        assert main([*where, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(RecordError, match="no cell 3"):
        comparison.sides(load_study(results / "a"), 3)
