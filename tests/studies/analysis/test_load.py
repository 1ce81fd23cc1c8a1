from __future__ import annotations

import json

import numpy as np
import pytest

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.errors import RecordError
from studies.analysis.load import load_records, load_study
from studies.analysis.metrics import ELBO, NMI
from studies.testing import synthetic


def plain(config: RunConfig):
    return synthetic.record(config, pictures=False)


def test_numbers_of_one_value_are_one_cell_however_they_are_written(tmp_path) -> None:
    axes = {"objective.balance_weight": [0, 20], "model.expert_hidden": [[32], [64, 32]]}
    study = load_study(synthetic.write(tmp_path, synthetic.plan(axes, seeds=[0]), plain))
    assert len(study.cells) == 4
    assert np.isfinite(study.matrix("test.nmi")).all()
    assert not study.missing


def test_a_run_that_was_not_planned_is_a_cell_of_its_own(tmp_path) -> None:
    tree = synthetic.plan({"routing.temperature": [1.0, 2.0]}, seeds=[0])
    folder = synthetic.write(tmp_path, tree, plain)
    stray = overrides.override(overrides.from_dict(tree["base"]), {"routing.temperature": 0.7, "seed": 9})
    synthetic.put(folder, *plain(stray))
    study = load_study(folder)
    assert study.cells[2:] == ((0.7,),)
    assert study.axes["routing.temperature"] == (1.0, 2.0, 0.7)
    assert study.seeds == (0, 9)
    assert not study.partial


def test_of_two_records_of_one_cell_and_seed_the_later_counts_and_the_other_is_named(tmp_path) -> None:
    tree = synthetic.plan({"routing.temperature": [1.0]}, seeds=[0])
    folder = synthetic.write(tmp_path, tree, plain)
    other = overrides.override(
        overrides.from_dict(tree["base"]), {"routing.temperature": 1.0, "train.epochs": 3}
    )
    later, _ = plain(other)
    synthetic.put(folder, {**later, "started": "2027-01-01T00:00:00+00:00"}, {})
    study = load_study(folder)
    assert [run.record.fingerprint for run in study.runs] == [later["fingerprint"]]
    assert "another record has the same cell and seed" in study.unread[0]


def test_records_of_another_schema_are_named_and_not_counted(tmp_path) -> None:
    def make(config: RunConfig):
        tree, files = plain(config)
        return ({**tree, "schema_version": 0} if config.seed == 1 else tree), files

    study = load_study(synthetic.write(tmp_path, synthetic.plan({"routing.kind": ["soft", "hard"]}), make))
    assert len(study.runs) == 4
    assert len(study.missing) == len(study.unread) == 2
    assert all("schema 0; expected schema 3" in reason for reason in study.unread)


def test_each_data_set_is_a_study_with_the_baseline_of_its_own(tmp_path) -> None:
    axes = {"data.name": ["digits", "mnist"], "routing.kind": ["soft", "hard"]}
    tree = synthetic.plan(axes, seeds=[0], baseline={"data.name": "digits", "routing.kind": "hard"})
    parts = load_study(synthetic.write(tmp_path, tree, plain)).by_data()
    assert list(parts) == ["digits", "mnist"]
    for study in parts.values():
        assert study.cells == (("soft",), ("hard",))
        assert study.reference == 1
        assert len(study.runs) == 2
    assert parts["mnist"].numbers == (3, 4)


def test_a_learned_deviation_is_a_likelihood_of_its_own(tmp_path) -> None:
    axes = {"model.gaussian_std": [0.5, "learned"]}
    tree = synthetic.plan(axes, baseline={"model.gaussian_std": 0.5})
    tree["base"]["model"]["likelihood"] = "gaussian"
    study = load_study(synthetic.write(tmp_path, tree, plain))
    assert len({run.likelihood for run in study.runs}) == 2


def test_bounds_of_another_likelihood_are_not_compared(tmp_path) -> None:
    axes = {"model.likelihood": ["bernoulli", "gaussian"], "routing.kind": ["soft", "hard"]}
    tree = synthetic.plan(axes, baseline={"model.likelihood": "bernoulli", "routing.kind": "soft"})
    study = load_study(synthetic.write(tmp_path, tree, plain))
    assert np.isfinite(study.matrix(ELBO.key)).all()
    assert np.isfinite(study.comparable(ELBO)).all(axis=0).tolist() == [True, True, False, False]


def test_other_methods_are_peers_and_no_cells(tmp_path) -> None:
    tree = synthetic.plan({"routing.kind": ["soft"]}, seeds=[0, 1])
    folder = synthetic.write(tmp_path, tree, plain)
    for seed in (1, 0):
        config = overrides.override(overrides.from_dict(tree["base"]), {"seed": seed})
        synthetic.put(folder, *synthetic.baseline(config, "k-means on pixels"))
        synthetic.put(folder, *synthetic.baseline(config, "true labels", oracle=True))
    study = load_study(folder)
    assert len(study.cells) == 1
    assert [baseline.name for baseline in study.baselines] == ["k-means on pixels", "true labels (oracle)"]
    assert [run.seed for run in study.baselines[0].runs] == [0, 1]
    assert study.baseline_matrix("test.nmi").shape == (2, 2)


def test_a_method_fitted_in_several_settings_is_several_baselines(tmp_path) -> None:
    axes = {"data.name": ["digits", "mnist"], "model.num_experts": [5, 10], "routing.kind": ["soft"]}
    tree = synthetic.plan(axes, seeds=[0])
    folder = synthetic.write(tmp_path, tree, plain)
    for cell in tree["cells"]:
        config = overrides.override(overrides.from_dict(tree["base"]), {**cell, "seed": 0})
        synthetic.put(folder, *synthetic.baseline(config, "k-means"))
    study = load_study(folder)
    assert [baseline.name for baseline in study.baselines] == [
        "k-means, model.num_experts 10",
        "k-means, model.num_experts 5",
    ]
    assert [len(baseline.runs) for baseline in study.baselines] == [2, 2]
    assert [len(baseline.runs) for baseline in study.by_data()["mnist"].baselines] == [1, 1]


def test_curves_are_kept_at_the_epochs_they_were_measured(tmp_path) -> None:
    tree = synthetic.plan({"train.epochs": [7, 200]}, seeds=[0, 3])
    study = load_study(synthetic.write(tmp_path, tree, plain))
    epochs, values = study.curves("nmi")
    assert (epochs[0], epochs[-1], len(epochs) <= 40) == (1, 200, True)
    for run in study.runs:
        for place, epoch in enumerate(epochs):
            measured = run.curve["nmi"][epoch - 1] if epoch <= len(run.curve["nmi"]) else np.nan
            np.testing.assert_equal(values[study.seeds.index(run.seed), run.cell, place], measured)
    assert study.curves("unheard of")[1].shape == (2, 2, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a description of a study"),
        (json.dumps({"schema": 2, "axes": {}, "cells": [], "seeds": []}), "lacks name"),
        (json.dumps({"schema": 3, "name": "x"}), "schema 3; expected schema 2"),
        (json.dumps(synthetic.plan(cells=[{}])), "cells.0: has nothing; expected objective.balance_weight"),
    ],
)
def test_a_broken_description_is_one_line(tmp_path, text: str, reason: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(RecordError, match=reason) as caught:
        load_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_bounds_of_other_test_images_do_not_compare(tmp_path) -> None:
    """Another split seed draws another test set: labels still score it, bounds do not compare."""
    axes = {"data.split_seed": [0, 20240101]}
    plan = synthetic.plan(axes, seeds=range(2), baseline={"data.split_seed": 0})
    study = load_study(synthetic.write(tmp_path, plan, plain))
    assert np.isfinite(study.comparable(ELBO)).all(axis=0).tolist() == [True, False]
    assert np.isfinite(study.comparable(NMI)).all()


def test_records_are_a_table_with_a_row_a_run(tmp_path) -> None:
    axes = {"objective.balance_weight": [0, 20], "model.expert_hidden": [[32], [64, 32]]}
    tree = synthetic.plan(axes, seeds=[0, 1])

    def made(config: RunConfig):
        lost = config.objective.balance_weight == 0 and config.seed == 1
        return (synthetic.failed(config, "it diverged"), {}) if lost else plain(config)

    folder = synthetic.write(tmp_path, tree, made)
    base = overrides.from_dict(tree["base"])
    synthetic.put(folder, *synthetic.baseline(base, "k-means on pixels"))
    synthetic.put(folder, *synthetic.baseline(base, "experts of true labels", oracle=True))
    table, study = load_records(str(folder)), load_study(str(folder))
    assert table.equals(load_records(study))
    assert table["fingerprint"].is_unique
    assert len(table) == 8 + 2
    own = table[table["method"].isna()]
    assert list(own["fingerprint"]) == [run.record.fingerprint for run in study.runs]
    assert set(overrides.keys()) <= set(table)
    assert set(own["model.expert_hidden"]) == {(32,), (64, 32)}
    cell = own[(own["objective.balance_weight"] == 20) & (own["model.expert_hidden"] == (32,))]
    assert list(cell["seed"]) == [0, 1]
    place = study.cells.index((20, [32]) if (20, [32]) in study.cells else (20, (32,)))
    np.testing.assert_array_equal(cell["test.nmi"], study.matrix("test.nmi")[:, place])
    lost = table[table["status"] == "failed"]
    assert set(lost["failure"]) == {"it diverged"}
    assert lost["test.nmi"].isna().all()
    others = table[table["method"].notna()]
    assert dict(zip(others["method"], others["oracle"], strict=True)) == {
        "k-means on pixels": False,
        "experts of true labels (oracle)": True,
    }


def test_records_that_are_left_out_are_named(tmp_path) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan({"routing.temperature": [1.0]}, seeds=[0, 1]), plain)
    first, _ = sorted((folder / "records").glob("*.json"))
    first.write_text("{}")
    with pytest.warns(UserWarning, match=rf"\b1 record .*{first.stem}"):
        assert len(load_records(folder)) == 1
    with pytest.raises(RecordError, match=str(tmp_path / "elsewhere")):
        load_records(str(tmp_path / "elsewhere"))
