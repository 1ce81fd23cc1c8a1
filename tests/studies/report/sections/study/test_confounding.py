"""Origins of runs are shown by level if levels differ, and confounded levels are named."""

from __future__ import annotations

from collections import Counter

import pytest

from moevae.config import overrides
from moevae.config.schema import RunConfig
from studies.analysis.load import load_study
from studies.report.page import Page
from studies.report.sections.study import confounding
from studies.testing import synthetic

AXES = {"objective.balance_weight": [0.0, 5.0, 20.0], "routing.kind": ["soft", "hard"]}


def study(tmp_path, where):
    """A study whose records say of their hardware and commit what `where` gives for a configuration."""

    def make(config: RunConfig):
        tree, files = synthetic.record(config, pictures=False)
        tree |= {key: value for key, value in where(config).items() if key != "hardware"}
        tree["hardware"] |= where(config).get("hardware", {})
        return tree, files

    return load_study(synthetic.write(tmp_path, synthetic.plan(AXES), make))


def page_of(found) -> str:
    page = Page()
    confounding.origins(found, page)
    return page.text().strip()


@pytest.mark.parametrize(
    "where",
    [lambda config: {}, lambda config: {"commit": ("a" * 40, "b" * 40)[config.seed % 2]}],
    ids=["one place", "places by seed, the same for all levels"],
)
def test_balanced_levels_are_not_reported(tmp_path, where) -> None:
    found = study(tmp_path, where)
    assert confounding.unbalanced(found) == []
    assert page_of(found) == ""


@pytest.mark.parametrize(
    ("factor", "here", "there", "shown"),
    [
        (
            "machine",
            {"hardware": {"device_name": "abacus"}},
            {"hardware": {"device_name": "loom"}},
            ["abacus", "loom"],
        ),
        (
            "precision",
            {"hardware": {"precision": "float32"}},
            {"hardware": {"precision": "bfloat16"}},
            ["float32", "bfloat16"],
        ),
        ("commit", {"commit": "a" * 40}, {"commit": "b" * 40}, ["aaaaaaa", "bbbbbbb"]),
        (
            "commit",
            {"commit": "a" * 40, "dirty": False},
            {"commit": "a" * 40, "dirty": True},
            ["aaaaaaa", "aaaaaaa (changed)"],
        ),
    ],
)
def test_a_level_run_on_another_machine_is_confounded_with_it(tmp_path, factor, here, there, shown) -> None:
    found = study(tmp_path, lambda config: there if config.objective.balance_weight == 0.0 else here)
    (unbalanced,) = confounding.unbalanced(found)  # the other axis has equal shares at each level
    assert list(unbalanced.counts) == [factor]
    assert unbalanced.counts[factor] == {
        "0": Counter({shown[1]: 6}),
        "5": Counter({shown[0]: 6}),
        "20": Counter({shown[0]: 6}),
    }
    assert unbalanced.reference == "20"
    assert unbalanced.confounded(factor) == ["0"]
    text = page_of(found)
    assert text.count("Confounded") == 1
    assert text.count("\n| balance weight") == 3


def test_levels_that_share_some_places_differ_and_are_not_confounded(tmp_path) -> None:
    def where(config: RunConfig):
        apart = config.seed == 0 and config.objective.balance_weight == 0.0
        return {"commit": ("a" if apart else "b") * 40}

    found = study(tmp_path, where)
    (unbalanced,) = confounding.unbalanced(found)
    assert unbalanced.counts["commit"]["0"] == {"bbbbbbb": 4, "aaaaaaa": 2}
    assert unbalanced.confounded("commit") == []
    text = page_of(found)
    assert "Confounded" not in text
    assert "bbbbbbb (4), aaaaaaa (2)" in text


def test_a_baseline_fitted_by_other_code_is_confounded_with_it(tmp_path) -> None:
    study(tmp_path, lambda config: {"commit": "a" * 40})
    for seed in range(3):
        config = overrides.override(overrides.from_dict(synthetic.plan()["base"]), {"seed": seed})
        tree, files = synthetic.baseline(config, "k-means on pixels")
        synthetic.put(tmp_path, tree | {"commit": "b" * 40}, files)
    (unbalanced,) = confounding.unbalanced(load_study(tmp_path))
    assert unbalanced.confounded("commit") == ["k-means on pixels"]


def test_an_axis_of_precisions_is_confounded_with_no_axis(tmp_path) -> None:
    def make(config: RunConfig):
        tree, files = synthetic.record(config, pictures=False)
        tree["hardware"]["precision"] = config.train.precision
        return tree, files

    usual = {"train.precision": "float32", "routing.kind": "soft"}
    axes = {"train.precision": ["float32", "bfloat16"], "routing.kind": ["soft", "hard"]}
    cells = [usual, usual | {"train.precision": "bfloat16"}, usual | {"routing.kind": "hard"}]
    plan = synthetic.plan(axes, cells=cells, baseline=usual)
    assert confounding.unbalanced(load_study(synthetic.write(tmp_path, plan, make))) == []
