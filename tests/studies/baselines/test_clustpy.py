"""Baselines of ClustPy: run with `-m peers` where moevae[peers] is installed."""

import functools

import pytest

from moevae.config.overrides import override
from moevae.config.schema import RunConfig
from studies.design.baselines import BASELINES
from studies.execution.baseline_fit import fit
from studies.execution.config import ExecutionConfig
from studies.records import store

PEERS = [key for key, each in BASELINES.items() if each.package]
RUN = override(
    RunConfig(), {"data.train_size": 600, "model.latent_dim": 5, "train.batch_size": 100, "train.epochs": 1}
)


def fitted(key):
    pytest.importorskip("clustpy", reason="needs moevae[peers]")
    return fit(BASELINES[key].method, RUN, ExecutionConfig(device="cpu", threads=1))


@pytest.mark.peers
@pytest.mark.parametrize("key", PEERS)
def test_a_baseline_finds_digits_and_states_its_settings(key, tmp_path, capfd):
    outcome = fitted(key)
    record = store.read(store.write_record(tmp_path, outcome))
    assert record.status == "complete"
    assert record.metrics["test"]["nmi"] > 0.55  # chance is about 0.03
    assert set(record.metrics["test"]) == {
        *("acc", "nmi", "ari", "ece", "brier"),
        *("effective_experts", "dead_experts"),
    }
    assert {
        "n_clusters": 10,
        "embedding_size": 5,
        "batch_size": 100,
        "pretrain_epochs": 100,
        "clustering_epochs": 150,
    }.items() <= record.method.derived.items()
    assert record.method.derived["parameters"] > 1_000_000
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.peers
def test_the_same_seed_gives_the_same_numbers(monkeypatch):
    clustpy = pytest.importorskip("clustpy.deep", reason="needs moevae[peers]")
    short = functools.partial(clustpy.DEC, pretrain_epochs=3, clustering_epochs=3)
    short.__name__ = "DEC"
    monkeypatch.setattr(clustpy, "DEC", short)
    assert fitted("clustpy-dec").record.metrics == fitted("clustpy-dec").record.metrics
