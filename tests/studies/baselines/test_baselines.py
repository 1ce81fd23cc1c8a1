"""Baselines: fitted to the same images with the same seeds, without labels unless they are oracles."""

import importlib.util
import itertools
import math
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from moevae.config.overrides import fingerprint, override
from moevae.config.presets import mnist
from moevae.config.registry import METRICS
from moevae.config.schema import DataConfig, ModelConfig, RunConfig
from moevae.data.datasets import load_images, load_labels
from moevae.errors import ConfigError
from studies.baselines import clustering, single_vae
from studies.design import baselines
from studies.design.baselines import BASELINES
from studies.execution import baseline_fit
from studies.execution import data as execution_data
from studies.execution.baseline_fit import fit
from studies.execution.config import ExecutionConfig
from studies.execution.run import run_population
from studies.records import store
from studies.records.schema import name_of

CPU = ExecutionConfig(device="cpu")
RUN = override(
    RunConfig(),
    {
        "data.train_size": 320,
        "model.num_experts": 4,
        "model.latent_dim": 4,
        "model.expert_hidden": (16,),
        "model.gate_hidden": (16,),
        "train.epochs": 2,
        "train.batch_size": 64,
        "train.learning_rate": 5e-3,
    },
)
OWN = [key for key, each in BASELINES.items() if not each.package]
BLIND = [key for key in OWN if not BASELINES[key].method.oracle]


def fitted(key, run=RUN):
    return fit(BASELINES[key].method, run, CPU).record


def blobs(path, *, classes=3, count=150, labels=True):
    """Images of well separated clusters."""
    points, truth = make_blobs(
        count, 6, centers=classes, cluster_std=0.01, center_box=(0.2, 0.8), random_state=0
    )
    arrays = {"images": points.clip(0, 1).reshape(count, 2, 3)} | ({"labels": truth} if labels else {})
    np.savez(path, **arrays)
    return override(RUN, {"data.name": f"npz:{path}", "data.train_size": None, "model.num_experts": classes})


@pytest.mark.parametrize("key", BASELINES)
def test_the_function_of_each_entry_is_there(key):
    assert pkgutil.resolve_name(BASELINES[key].function).__doc__


def test_every_baseline_and_the_model_leave_records_of_their_own():
    names = [name_of(RUN, each.method) for each in BASELINES.values()]
    assert len({*names, fingerprint(RUN)}) == len(BASELINES) + 1
    method = BASELINES["kmeans"].method
    assert name_of(RUN, method) != name_of(RUN, method.model_copy(update={"settings": {"n_init": 11}}))
    assert name_of(RUN, method) == name_of(RUN, method.model_copy(update={"derived": {"iterations": 3}}))


@pytest.mark.parametrize("key", OWN)
def test_a_record_is_published_and_read_again(key, tmp_path):
    outcome = fit(BASELINES[key].method, RUN, CPU)
    read = store.read(store.write_record(tmp_path, outcome))
    assert read == outcome.record
    assert read.status == "complete"
    assert (read.config["seed"], read.method.name) == (0, BASELINES[key].method.name)
    for split in ("validation", "test"):
        assert {"acc", "nmi", "ari", "effective_experts", "dead_experts"} <= read.metrics[split].keys()
    assert sum(read.load) == pytest.approx(1)
    assert sum(read.importance) == pytest.approx(1, abs=1e-5)
    assert np.sum(read.confusion.counts) == read.data.test == 359
    assert read.seconds.train > 0 < read.throughput.train_images_per_second


@pytest.mark.parametrize("key", ["random-gate", "vae-kmeans", "vae-gmm", "oracle-experts"])
def test_another_seed_gives_other_numbers(key):
    assert fitted(key).metrics != fitted(key, override(RUN, {"seed": 1})).metrics


@pytest.fixture
def shuffled(monkeypatch):
    """Labels that are independent of the images."""
    load = execution_data.load_data

    def with_shuffled_labels(data, root):
        images, labels = load(data, root)
        order = np.random.default_rng(0).permutation(len(labels.train))
        return images, type(labels)(labels.train[order], labels.validation, labels.test[::-1], labels.classes)

    return lambda: monkeypatch.setattr(execution_data, "load_data", with_shuffled_labels)


@pytest.mark.parametrize("key", BLIND)
def test_labels_decide_nothing_but_the_scores(key, shuffled):
    original = fitted(key)
    shuffled()
    permuted = fitted(key)
    scores = {name for name in METRICS if METRICS[name].labels}
    for split, metrics in original.metrics.items():
        assert {name: value for name, value in metrics.items() if name not in scores} == {
            name: value for name, value in permuted.metrics[split].items() if name not in scores
        }
    assert original.load == permuted.load
    assert original.metrics["test"]["nmi"] != permuted.metrics["test"]["nmi"]


def test_labels_decide_nothing_of_the_model_itself(shuffled):
    (original,) = run_population([RUN], CPU)
    shuffled()
    (permuted,) = run_population([RUN], CPU)
    assert original.record.load == permuted.record.load
    assert original.record.metrics["test"]["mixture_elbo"] == permuted.record.metrics["test"]["mixture_elbo"]
    without = [
        {name: each.files[name] for name in each.files if "-map" not in name} for each in (original, permuted)
    ]
    assert without[0] == without[1]  # a map stores the classes of its points


def test_only_oracles_are_given_labels(monkeypatch):
    seen = {}

    def noted(name):
        def function(given):
            seen[name] = given.labels
            raise baseline_fit.NotFittedError("enough was seen")

        return function

    monkeypatch.setattr(baseline_fit.pkgutil, "resolve_name", noted)
    for each in BASELINES.values():
        assert fit(each.method, RUN, CPU).record.failure.reason == "enough was seen"
        assert (seen[each.function] is not None) == each.method.oracle
    assert [each.function for each in BASELINES.values() if each.method.oracle] == [
        "studies.baselines.fixed_gate:oracle_experts"
    ]


@pytest.mark.parametrize("key", ["kmeans", "pca-gmm"])
def test_well_separated_clusters_are_found(key, tmp_path):
    metrics = fitted(key, blobs(tmp_path / "blobs.npz")).metrics
    assert {split: part["acc"] for split, part in metrics.items()} == {"validation": 1.0, "test": 1.0}


def test_kmeans_is_as_good_as_any_of_scikit_learns():
    images = load_images(RUN.data)
    inertia = [KMeans(4, n_init=1, random_state=seed).fit(images.train).inertia_ for seed in range(20)]
    given = baseline_fit.BaselineContext(
        RUN, images, None, torch.device("cpu"), BASELINES["kmeans"].method.settings
    )
    measured = baseline_fit.pkgutil.resolve_name("studies.baselines.clustering:kmeans")(given).measure(
        "train"
    )
    pixels = images.train.numpy()
    centers = np.stack([pixels[measured.assignments == k].mean(0) for k in range(4)])
    own = np.square(pixels - centers[measured.assignments]).sum()
    assert own == pytest.approx(min(inertia), rel=0.01)


def test_too_few_images_end_in_a_failed_record(tmp_path):
    run = override(blobs(tmp_path / "few.npz", count=12), {"model.num_experts": 11})
    record = fitted("kmeans", run)
    assert record.status == "failed"
    assert record.failure.reason == "9 training images are too few for 11 clusters"


@pytest.mark.parametrize("key", ["vae-gmm", "random-gate"])
def test_training_that_breaks_ends_in_a_failed_record(key):
    failure = fitted(key, override(RUN, {"train.learning_rate": 1e30})).failure
    assert failure.reason.startswith("the loss became")
    assert failure.step >= 1


@pytest.mark.parametrize(
    ("model", "pixels"),
    [
        (mnist().model, 784),
        (RUN.model, 64),
        (ModelConfig(num_experts=7, latent_dim=3, expert_hidden=(33, 17), gate_hidden=(29,)), 30),
        (ModelConfig(num_experts=1, expert_hidden=(5,), gate_hidden=()), 9),
    ],
)
def test_one_vae_has_as_many_parameters_as_the_mixture_as_nearly_as_its_widths_allow(model, pixels):
    def count(sizes):
        layers = [nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(sizes)]
        return sum(weights.numel() for layer in layers for weights in layer.parameters())

    def expert(hidden):
        return count([pixels, *hidden, 2 * model.latent_dim]) + count(
            [model.latent_dim, *hidden[::-1], pixels]
        )

    target = model.num_experts * expert(model.expert_hidden) + count(
        [pixels, *model.gate_hidden, model.num_experts]
    )
    chosen, derived = single_vae.of_equal_size(RunConfig(model=model), (1, pixels))
    hidden = chosen.model.expert_hidden
    assert derived == {
        "expert_hidden": list(hidden),
        "parameters": expert(hidden),
        "parameters_of_the_mixture": target,
    }
    assert len(hidden) == len(model.expert_hidden)
    for near in (-1, 1):
        other = tuple(
            max(1, round((hidden[0] + near) * each / model.expert_hidden[0])) for each in model.expert_hidden
        )
        assert abs(expert(hidden) - target) <= abs(expert(other) - target)


def test_one_vae_has_bounds_but_no_gate():
    metrics = fitted("vae-gmm").metrics["test"]
    assert metrics["mixture_elbo"] == metrics["map_elbo"]
    assert metrics["marginal_elbo"] == pytest.approx(metrics["mixture_elbo"], abs=0.5)  # of other samples
    assert metrics["kl_gate"] == 0
    assert "mutual_information" not in metrics


def test_a_random_gate_has_no_information():
    record = fitted("random-gate", override(RUN, {"model.num_experts": 10}))
    metrics = record.metrics["test"]
    assert metrics["acc"] < 0.25
    assert metrics["ari"] == pytest.approx(0, abs=0.03)
    assert metrics["mixture_elbo"] == pytest.approx(metrics["map_elbo"])
    assert metrics["kl_gate"] == pytest.approx(math.log(10))


@pytest.mark.parametrize("key", ["random-gate", "oracle-experts", "vae-kmeans"])
def test_no_expert_of_a_baseline_is_pruned(key):
    pruned = override(RUN, {"train.extra_experts": 2})
    assert fitted(key, pruned).metrics == fitted(key).metrics


@pytest.mark.parametrize(
    "change",
    [
        {"routing.kind": "top-k", "routing.k": 2},
        {"objective.consistency": ("iic",), "train.gate_start": "clustering"},
    ],
)
def test_what_teaches_or_uses_a_gate_is_nothing_to_one_vae(change):
    assert fitted("vae-kmeans", override(RUN, change)).metrics == fitted("vae-kmeans").metrics


def test_experts_of_the_true_labels_are_one_a_class_and_marked():
    record = fitted("oracle-experts", override(RUN, {"train.epochs": 15}))
    assert record.method.oracle
    assert len(record.load) == 10 != RUN.model.num_experts
    truth = np.bincount(load_labels(RUN.data).test) / 359
    np.testing.assert_allclose(record.load, truth)
    assert record.metrics["test"]["mixture_elbo"] == pytest.approx(record.metrics["test"]["map_elbo"])
    assert 0.6 < record.metrics["test"]["acc"] < 1  # of the experts' own choice, the true class unseen


def test_all_that_apply_are_chosen_and_the_others_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    chosen = baselines.choose([], [DataConfig()])
    assert list(chosen.keys) == OWN
    assert chosen.left_out == (
        "VaDE (ClustPy) is left out: it needs the package clustpy, which comes with moevae[peers].",
        "DEC (ClustPy) is left out: it needs the package clustpy, which comes with moevae[peers].",
    )
    unlabeled = blobs(tmp_path / "bare.npz", labels=False).data
    without = baselines.choose([], [DataConfig(), unlabeled])
    assert list(without.keys) == BLIND
    assert f"{unlabeled.name} has no labels" in without.left_out[0]
    assert baselines.choose(None, [DataConfig()]).keys == ()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (["kmean"], r"^unknown baseline 'kmean': did you mean kmeans\?$"),
        (
            ["kmeans,clustpy-dec"],
            r"^--baselines clustpy-dec: it needs the package clustpy, .*moevae\[peers\]$",
        ),
    ],
)
def test_an_unavailable_baseline_is_one_line(asked, reason, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=reason):
        baselines.choose(asked, [DataConfig()])


def test_no_labels_no_scores(tmp_path):
    run = blobs(tmp_path / "bare.npz", labels=False)
    record = fitted("kmeans", run)
    assert set(record.metrics["test"]) == {"effective_experts", "dead_experts"}
    assert record.confusion is None


def test_components_of_pca_are_a_setting_of_its_own():
    baseline = BASELINES["pca-gmm"]
    wide = override(RUN, {"model.latent_dim": 6})
    own = baseline.method_for(RUN, ["model.latent_dim"])
    assert own.settings == baseline.method.settings | {"components": 4}
    assert baseline.method_for(RUN, ["model.num_experts"]) == baseline.method
    for run in (RUN, wide):
        assert fit(own, run, CPU).record.method.derived["components"] == 4
        followed = fit(baseline.method, run, CPU).record
        assert followed.method.derived["components"] == run.model.latent_dim
    assert fit(own, RUN, CPU).record.metrics == fit(baseline.method, RUN, CPU).record.metrics


@pytest.mark.parametrize(("key", "precision"), [("vae-kmeans", "bfloat16"), ("kmeans", "float32")])
def test_the_precision_that_a_baseline_was_trained_in_is_recorded(key, precision):
    record = fitted(key, override(RUN, {"train.precision": "bfloat16"}))
    assert record.hardware.precision == record.precision == precision


def test_a_baseline_computes_with_as_many_threads_as_it_is_given(monkeypatch):
    """While it is fitted, and while it is measured."""
    seen = []

    def note_threads():
        seen.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")

    def kmeans(given):
        note_threads()
        fitted = clustering.kmeans(given)
        return replace(fitted, measure=lambda split: [note_threads(), fitted.measure(split)][1])

    monkeypatch.setattr(clustering, "looked_at", kmeans, raising=False)
    monkeypatch.setitem(
        BASELINES._entries,
        "kmeans",
        replace(BASELINES["kmeans"], function="studies.baselines.clustering:looked_at"),
    )
    with threadpool_limits(2):
        fit(BASELINES["kmeans"].method, RUN, ExecutionConfig(device="cpu", threads=1))
    assert seen
    assert set(seen) == {1}


def test_the_graph_of_neighbors_finds_clusters_and_their_number(tmp_path):
    random, path = np.random.default_rng(0), tmp_path / "four.npz"
    truth = np.repeat(np.arange(4), 100)
    images = random.uniform(0.2, 0.8, (4, 6, 6))[truth] + random.normal(0, 0.02, (400, 6, 6))
    np.savez(path, images=images, labels=truth)
    run = override(RUN, {"data.name": f"npz:{path}", "data.train_size": None})
    for key, given in (("graph", 4), ("graph-unknown", 7)):  # the number that is given is not read
        record = fitted(key, override(run, {"model.num_experts": given}))
        assert {part["acc"] for part in record.metrics.values()} == {1.0}
        assert record.method.derived["clusters_found"] == 4
    assert fitted("graph", override(run, {"model.num_experts": 2})).method.derived["clusters_found"] == 2
