"""From configurations to outcomes: complete records, reported failures, and independence of other runs."""

import functools
import hashlib
import io
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small import ODD, config

from moevae.config.overrides import fingerprint, from_dict, override
from moevae.config.presets import preset
from moevae.data.datasets import load_images, load_labels
from moevae.errors import ConfigError, DataError
from moevae.evaluation.all_images import score_all_images
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.label_metrics import agreement
from moevae.evaluation.log_weights import BLOCK
from moevae.evaluation.memory import image_bytes
from moevae.evaluation.sample_neighbors import sample_neighbors
from moevae.training.fit import fit
from moevae.training.population import Population
from moevae.training.trainer import Trainer
from moevae.utils import devices
from moevae.visualization import maps
from studies.execution.config import ExecutionConfig
from studies.execution.events import EvaluationReport
from studies.execution.recorder import MAPPED, RECONSTRUCTED, SAMPLED
from studies.execution.run import run_population
from studies.execution.tasks import preflight
from studies.records import store
from studies.verify import rerun

CPU = ExecutionConfig(device="cpu")
RUN = config(ODD | {"data.train_size": 320, "train.epochs": 3})
RUNS = [override(RUN, {"seed": seed, "objective.balance_weight": 5.0 * seed}) for seed in (1, 2)]
BOUNDS = {"mixture_elbo", "map_elbo", "recon_log_prob", "kl_z", "kl_gate"}
MARGINAL = {"marginal_elbo", "marginal_samples", "gate_gap"}
GATE = {"temperature", "mutual_information", "marginal_kl", "effective_experts", "dead_experts"}
SCORES = {"acc", "nmi", "ari", "ece", "brier", "posterior_acc", "posterior_nmi"}


@pytest.fixture(scope="module")
def reports():
    return []


@pytest.fixture(scope="module")
def outcomes(reports):
    return run_population(RUNS, CPU, reports.append)


def test_a_record_contains_the_results_of_its_run(outcomes):
    images, labels = load_images(RUN.data), load_labels(RUN.data)
    found = fit(RUNS, images)
    for run, outcome in enumerate(outcomes):
        record = outcome.record
        assert record.status == "complete"
        assert record.failure is None
        assert from_dict(record.config) == RUNS[run]
        assert record.fingerprint == fingerprint(RUNS[run])
        for split in ("validation", "test"):
            measured = evaluate(found.model, RUNS, images, split)[run]
            scores = agreement(measured, labels, split, RUN.data)
            assert record.metrics[split] == measured.metrics | scores
            assert set(record.metrics[split]) == BOUNDS | MARGINAL | GATE | SCORES
        bins = record.reliability
        gaps = np.array(bins.images) * np.abs(np.array(bins.confidence) - bins.accuracy)
        assert sum(bins.images) == len(images.test) - len(images.test) // 2
        assert gaps.sum() / sum(bins.images) == pytest.approx(record.metrics["test"]["ece"])
        assert record.load == measured.load.tolist()
        assert record.importance == measured.importance.tolist()
        counts = np.array(record.confusion.counts)
        assert counts.shape == (7, 10)
        assert counts.sum(1).tolist() == (measured.load * len(images.test)).round().tolist()
        assert counts.sum(0).tolist() == np.bincount(labels.test).tolist()
        assert (record.data.train, record.data.validation, record.data.test) == (320, 143, 359)
        assert record.data.sha256 == images.sha256


def test_a_record_holds_the_scores_of_all_images_if_asked_for():
    asked = override(RUN, {"evaluation.all_images": True, "train.epochs": 1})
    (outcome,) = run_population([asked], CPU)
    images, labels = load_images(RUN.data), load_labels(RUN.data)
    (expected,) = score_all_images(fit([asked], images).model, [asked], images, labels)
    found = outcome.record.metrics
    assert expected["all_images"] == 320 + 143 + 359
    assert {name: found["test"].get(name) for name in expected} == expected
    assert not found["validation"].keys() & expected.keys()


def followed(record):
    """The validation metrics that are measured after each epoch, too."""
    return {name: value for name, value in record.metrics["validation"].items() if name not in MARGINAL}


def test_the_curve_ends_where_the_record_does(outcomes, reports):
    assert [(report.epoch, report.epochs) for report in reports] == [(1, 3), (2, 3), (3, 3)]
    for run, outcome in enumerate(outcomes):
        curve = outcome.record.curve
        assert curve.epoch == [1, 2, 3]
        assert curve.loss == [report.losses[run] for report in reports]
        assert curve.last() == {"loss": curve.loss[-1]} | followed(outcome.record)
    last = [followed(outcome.record) for outcome in outcomes]
    means = {name: (last[0][name] + last[1][name]) / 2 for name in last[0]}
    assert reports[-1].metrics == pytest.approx(means)


def test_other_runs_and_repetition_change_no_number(outcomes):
    (alone,) = run_population(RUNS[1:], CPU)
    for name in ("metrics", "load", "importance", "confusion", "curve", "pictures"):
        assert getattr(alone.record, name) == getattr(outcomes[1].record, name)
    assert alone.files == outcomes[1].files


def test_a_population_has_configurations_of_one_shape():
    with pytest.raises(ConfigError, match="at least one configuration"):
        run_population([], CPU)
    with pytest.raises(ConfigError, match="may differ only in seed"):
        run_population([RUNS[0], override(RUNS[1], {"model.latent_dim": 5})], CPU)


def test_chunks_of_a_population_change_no_number(outcomes):
    chunked = run_population(RUNS, ExecutionConfig(device="cpu", population_chunk=1))
    for one, other in zip(chunked, outcomes, strict=True):
        both = [each.record.model_dump(exclude={"seconds", "throughput", "started"}) for each in (one, other)]
        assert both[0] == both[1]
        assert one.files == other.files


def test_a_budget_of_memory_changes_no_number_and_too_small_a_one_is_reported_before_training(outcomes):
    enough = BLOCK * image_bytes(RUN, (8, 8))
    small = run_population(
        RUNS, ExecutionConfig(device="cpu", memory=enough)
    )  # one run after the other, by blocks
    for one, other in zip(small, outcomes, strict=True):
        assert one.record.metrics["test"] == pytest.approx(other.record.metrics["test"], rel=1e-6)
        found, expected = (each.record.curve.metrics for each in (one, other))
        assert found == {name: pytest.approx(values, rel=1e-6) for name, values in expected.items()}
    preflight(RUNS, execution=ExecutionConfig(device="cpu", memory=enough))
    with pytest.raises(ConfigError, match=f"{enough - 1:,} bytes"):
        preflight(RUNS, execution=ExecutionConfig(device="cpu", memory=enough - 1))


def test_an_outcome_published_reads_back(outcomes, tmp_path):
    for outcome in outcomes:
        store.write_record(tmp_path, outcome)
    good, bad = store.read_all(tmp_path)
    assert bad == []
    assert sorted(good, key=lambda record: record.config["seed"]) == [outcome.record for outcome in outcomes]


def test_pictures_have_the_rows_and_columns_of_their_record(outcomes):
    record = outcomes[0].record
    assert set(record.pictures) == {"samples", "means", "reconstructions", "map"}
    assert record.pictures["samples"].rows == ["1", "2", "3"]
    assert record.pictures["samples"].columns == [str(expert) for expert in range(7)]
    for picture in record.pictures.values():
        content = outcomes[0].files[picture.file]
        assert hashlib.sha256(content).hexdigest() == picture.sha256
        with Image.open(io.BytesIO(content)) as image:
            tall, wide = picture.tile
            assert image.size == (wide * len(picture.columns), tall * len(picture.rows))
    assert record.pictures["map"].rows == ["x", "y", "expert", "class"]


def test_the_map_and_the_reconstructions_name_the_assigned_experts(outcomes):
    record, files = outcomes[0].record, outcomes[0].files
    table = np.asarray(Image.open(io.BytesIO(files[record.pictures["map"].file])))
    images, labels = load_images(RUNS[0].data), load_labels(RUNS[0].data)
    assert table.shape == (4, min(MAPPED, len(images.test)))
    np.testing.assert_array_equal(table[3], labels.test[: table.shape[1]])
    counts = np.zeros((7, 10), dtype=int)
    np.add.at(counts, (table[2], table[3]), 1)
    assert counts.tolist() == record.confusion.counts  # all test images of the digits are in the map
    assert record.pictures["reconstructions"].experts == table[2][:RECONSTRUCTED].tolist()


def test_a_study_of_the_likelihood_records_samples_beside_their_nearest_training_images(outcomes):
    asked = {"evaluation.iwae_samples": 2, "evaluation.iwae_images": 8}
    runs, images = [override(run, asked) for run in RUNS], load_images(RUN.data)
    model, events = fit(runs, images).model, []
    made = run_population(runs, CPU, events.append)
    seen = [event for event in events if isinstance(event, EvaluationReport)]
    for split in ("validation", "test"):
        counts = [event.images for event in seen if event.split == split]
        assert counts == sorted(set(counts))
        assert counts[-1] == 2 * 8
    assert {event.total for event in seen} == {2 * 8}
    for run, (own, outcome, bare) in enumerate(zip(runs, made, outcomes, strict=True)):
        found, before = outcome.record, bare.record
        near = sample_neighbors(model.select_run(run), own, images)
        names = near.metrics().keys()
        assert {name: found.metrics["test"][name] for name in names} == near.metrics()
        # All that was recorded before is recorded still, bit for bit.
        assert not names & before.metrics["test"].keys()
        assert {name: found.metrics["test"][name] for name in before.metrics["test"]} == before.metrics[
            "test"
        ]
        assert found.curve == before.curve
        assert found.pictures.keys() - before.pictures.keys() == {"neighbors"}
        for kind, picture in before.pictures.items():
            assert found.pictures[kind].sha256 == picture.sha256
        picture = found.pictures["neighbors"]
        assert picture.rows == ["sample", "nearest training image", "test image"]
        assert picture.experts == near.experts[:SAMPLED].tolist()
        pixels = np.asarray(Image.open(io.BytesIO(outcome.files[picture.file])))
        rows = pixels.reshape(3, 8, SAMPLED, 8).transpose(0, 2, 1, 3).reshape(3, SAMPLED, 64)
        for row, drawn in zip(rows, (near.samples, near.neighbors, near.test), strict=True):
            np.testing.assert_array_equal(row, 255 * drawn[:SAMPLED].numpy())


def test_the_record_names_the_projection_of_its_map_and_a_repetition_uses_it(outcomes, monkeypatch):
    assert outcomes[0].record.pictures["map"].method == "pca"
    asked = []

    def project(points, method, seed):
        asked.append((method, seed))
        return points[:, :2]

    monkeypatch.setattr(maps, "find_spec", lambda name: True)
    monkeypatch.setattr(maps, "project", project)
    found = run_population(RUNS[:2], replace(CPU, map="umap"))
    assert [each.record.pictures["map"].method for each in found] == ["umap", "umap"]
    assert [each.record.metrics for each in found] == [each.record.metrics for each in outcomes[:2]]
    assert asked == [("umap", run.seed) for run in RUNS[:2]]
    rerun.repeat(found[1].record, CPU)
    assert asked[2:] == [("umap", RUNS[1].seed)]


def test_a_map_by_umap_is_refused_before_training_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    for refused in (functools.partial(preflight, RUNS), functools.partial(run_population, RUNS)):
        with pytest.raises(ConfigError, match="umap-learn"):
            refused(execution=replace(CPU, map="umap"))


def test_a_failed_run_is_recorded_and_the_others_continue(outcomes, reports, tmp_path):
    broken = override(RUNS[0], {"routing.temperature": 1e-300})
    failed, whole = run_population([broken, RUNS[1]], CPU)
    assert failed.record.status == "failed"
    failure = failed.record.failure
    assert (failure.epoch, failure.step, failure.reason) == (1, 1, "the loss became nan")
    assert failed.record.metrics == {}
    assert not failed.record.curve
    assert failed.files == {}
    assert whole.record.metrics == outcomes[1].record.metrics
    store.write_record(tmp_path, failed)
    assert store.read_all(tmp_path) == ([failed.record], [])


def test_a_run_that_breaks_after_its_last_finite_loss_can_still_be_recorded(monkeypatch, tmp_path):
    step = Trainer.step

    def poisoned(training, *batch):
        loss = step(training, *batch)
        with torch.no_grad():
            training.model.gate.network.layers[0].weight[0] = math.nan
        return loss

    monkeypatch.setattr(Trainer, "step", poisoned)
    short = [override(run, {"train.epochs": 1, "train.batch_size": 320}) for run in RUNS]
    failed, whole = run_population(short, CPU)
    assert failed.record.failure.reason.endswith(" on the validation split became nan")
    assert whole.record.status == "complete"
    for outcome in (failed, whole):
        store.write_record(tmp_path, outcome)
    assert len(store.read_all(tmp_path)[0]) == 2


def test_images_without_labels_or_validation(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.random.default_rng(0).random((60, 4, 3)))
    run = override(RUN, {"data.name": f"npz:{path}", "data.train_size": None, "data.validation_size": 0})
    (outcome,) = run_population([run], CPU)
    assert set(outcome.record.metrics) == {"test"}
    assert set(outcome.record.metrics["test"]) == BOUNDS | MARGINAL | GATE
    assert outcome.record.confusion is None
    assert outcome.record.curve.epoch == [1, 2, 3]
    assert outcome.record.curve.metrics == {}


@pytest.mark.parametrize(
    ("configs", "execution", "error"),
    [
        ([override(RUN, {"data.train_size": 5000})], CPU, DataError),
        ([override(RUN, {"data.name": "npz:nothing.npz"})], CPU, DataError),
        ([RUN, override(RUN, {"train.epochs": 4})], CPU, ConfigError),
        ([RUN], ExecutionConfig(device="tpu"), ConfigError),
    ],
)
def test_errors_of_users_are_one_line(configs, execution, error):
    with pytest.raises(error) as caught:
        run_population(configs, execution)
    assert "\n" not in str(caught.value)


def test_the_record_of_deformable_experts_shows_their_templates():
    changes = {
        "model.decoder": "deformable",
        "train.epochs": 2,
        "train.extra_experts": 2,
        "data.train_size": 128,
    }
    run = override(preset("digits"), changes)
    (outcome,) = run_population([run])
    picture = outcome.record.pictures["templates"]
    assert (picture.rows, picture.columns) == (["1", "2"], [str(expert) for expert in range(10)])


def test_memory_is_returned_when_a_population_is_gone(monkeypatch):
    trainers, alive = [], []

    class Watched(Population):
        def __init__(self, *args):
            super().__init__(*args)
            trainers.append(weakref.ref(self))

    monkeypatch.setattr("studies.execution.run.Population", Watched)
    monkeypatch.setattr(devices, "return_freed_memory", lambda: alive.append(trainers[-1]()))
    run_population([override(RUN, {"train.epochs": 1})], CPU)
    assert alive == [None]
