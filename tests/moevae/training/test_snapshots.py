"""A stopped population continues bitwise, and an incomplete snapshot is refused."""

import dataclasses
import os
import random
from pathlib import Path

import pytest
import torch

import moevae
from moevae.data.datasets import identify
from moevae.errors import CheckpointError
from moevae.training import snapshot_files, snapshots
from moevae.training.population import Population
from moevae.training.trainer import Trainer
from moevae.utils.identity import CodeIdentity, DataIdentity
from studies.execution.config import ExecutionConfig
from studies.execution.recorder import RunRecorder
from studies.execution.run import run_population


class StopHereError(Exception):
    pass


@pytest.fixture
def consistency():
    return ["vat", "augmentation"]


@pytest.fixture
def configs(consistency):
    changes = {
        "data.train_size": 256,
        "model.num_experts": 3,
        "model.expert_hidden": [16],
        "model.gate_hidden": [16],
        "model.gate_normalization": "batch",
        "objective.consistency": consistency,
        "routing.temperature_schedule": "cosine",
        "routing.final_temperature": 0.5,
        "train.epochs": 7,
    }
    base = moevae.override(moevae.preset("digits"), changes)
    return [
        moevae.override(base, {"seed": seed, "objective.balance_weight": 5.0 * seed}) for seed in range(2)
    ]


@pytest.fixture
def training(configs):
    images = moevae.load_images(configs[0].data)
    training = Trainer(configs, images, torch.device("cpu"))
    training.epoch()
    return training


def numbers(outcomes):
    """Return the records of runs without times and speeds."""
    records = [
        outcome.record.model_dump(exclude={"seconds", "throughput", "started"}) for outcome in outcomes
    ]
    return records, [outcome.files for outcome in outcomes]


def stopped_at(epoch, configs, site):
    def stop(report):
        if report.epoch == epoch:
            raise StopHereError

    with pytest.raises(StopHereError):
        run_population(configs, site, stop)


@pytest.mark.parametrize("consistency", [["vat", "augmentation"], ["vat", "knn-stretch"]])
def test_stopped_runs_continue_bitwise(configs, tmp_path):
    site = ExecutionConfig(device="cpu", snapshots=str(tmp_path), snapshot_seconds=0)
    for epoch in (2, 3, 6):
        stopped_at(epoch, configs, site)
        assert list(tmp_path.glob("*.snapshot"))
    seen = []
    resumed = run_population(configs, site, lambda report: seen.append(report.epoch))
    assert seen == [6, 7]  # epoch 6 was trained, but not saved, at the last stop
    assert numbers(resumed) == numbers(run_population(configs, ExecutionConfig(device="cpu")))
    assert not list(tmp_path.iterdir())


def test_broken_snapshot_starts_from_epoch_1_with_a_warning(configs, tmp_path):
    site = ExecutionConfig(device="cpu", snapshots=str(tmp_path), snapshot_seconds=0)
    stopped_at(4, configs, site)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    seen = []
    with pytest.warns(UserWarning, match=rf"{path.name}.*checksum"):
        outcomes = run_population(configs, site, lambda report: seen.append(report.epoch))
    assert seen == list(range(1, 8))
    assert numbers(outcomes) == numbers(run_population(configs, ExecutionConfig(device="cpu")))


def test_snapshot_of_another_version_starts_from_epoch_1_with_a_warning(configs, tmp_path):
    site = ExecutionConfig(device="cpu", snapshots=str(tmp_path), snapshot_seconds=0)
    stopped_at(4, configs, site)
    (path,) = tmp_path.iterdir()
    tensors, plain = snapshot_files.read(path, configs)
    lacking = {name: value for name, value in tensors.items() if "stream.neighbor" not in name}
    assert len(lacking) < len(tensors)
    images, labels = moevae.load_images(configs[0].data), moevae.load_labels(configs[0].data)
    origin = snapshots.origin(identify(images, labels), "cpu", "moevae", "studies")
    snapshot_files.write(path, configs, lacking, plain, origin)
    seen = []
    with pytest.warns(UserWarning, match=path.name):
        outcomes = run_population(configs, site, lambda report: seen.append(report.epoch))
    assert seen == list(range(1, 8))
    assert numbers(outcomes) == numbers(run_population(configs, ExecutionConfig(device="cpu")))


def code_identity(field, value):
    return lambda *packages: dataclasses.replace(CodeIdentity("a" * 64, "2.0"), **{field: value})


@pytest.mark.parametrize("field", ["source", "torch"])
def test_a_snapshot_of_other_code_stays_and_its_runs_start_again(configs, tmp_path, monkeypatch, field):
    site = ExecutionConfig(device="cpu", snapshots=str(tmp_path), snapshot_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(snapshots.identity, "code_identity", code_identity(field, "before"))
        stopped_at(4, configs, site)
    (path,) = tmp_path.iterdir()
    kept, seen = path.read_bytes(), []
    monkeypatch.setattr(snapshots.identity, "code_identity", code_identity(field, "after"))
    with pytest.warns(UserWarning, match=rf"{path.name}.*\(before then, after now\)") as caught:
        outcomes = run_population(configs, site, lambda report: seen.append(report.epoch))
    assert len(caught) == 1
    assert seen == list(range(1, 8))
    assert numbers(outcomes) == numbers(run_population(configs, ExecutionConfig(device="cpu")))
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [kept]
    monkeypatch.setattr(snapshots.identity, "code_identity", code_identity(field, "before"))
    seen.clear()
    run_population(configs, site, lambda report: seen.append(report.epoch))
    assert seen == [4, 5, 6, 7]
    assert not list(tmp_path.iterdir())


def test_an_origin_contains_all_that_determines_a_number():
    one = snapshots.origin(DataIdentity("a", "b", (2, 3)), "cpu")
    others = [
        snapshots.origin(DataIdentity("c", "b", (2, 3)), "cpu"),
        snapshots.origin(DataIdentity("a", "c", (2, 3)), "cpu"),
        snapshots.origin(DataIdentity("a", "b", (3, 2)), "cpu"),
        snapshots.origin(DataIdentity("a", "b", (2, 3)), "cuda"),
    ]
    places = {snapshot_files.snapshot_path(Path(), [moevae.RunConfig()], each) for each in (one, *others)}
    assert len(places) == 5


def test_a_snapshot_with_another_origin_is_refused(training, tmp_path):
    path = tmp_path / "a.snapshot"
    snapshot_files.write(path, training.configs, *training.state(), {"images": "a"})
    assert snapshot_files.read(path, training.configs, {"images": "a"})
    with pytest.raises(CheckpointError, match=rf"{path.name}.*\bimages\b"):
        snapshot_files.read(path, training.configs, {"images": "b"})


def test_a_snapshot_of_an_older_format_is_reported_and_kept(configs, tmp_path):
    place = snapshot_files.snapshot_path(tmp_path, configs, {})
    old = tmp_path / f"{place.name.partition('-')[0]}.snapshot"
    for content in (b"", b"\xff" * 100, bytes(32) + (2).to_bytes(8, "little") + b"{}"):
        old.write_bytes(content)
        with pytest.warns(UserWarning, match=old.name):
            run_population(configs[:], ExecutionConfig(device="cpu", snapshots=str(tmp_path)))
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]


def test_any_flipped_bit_is_found(training, tmp_path):
    path = tmp_path / "a.snapshot"
    snapshot_files.write(path, training.configs, *training.state())
    whole = path.read_bytes()
    chance = random.Random(0)
    for position in [0, 31, 32, 40, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(50))]:
        broken = bytearray(whole)
        broken[position] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="checksum"):
            snapshot_files.read(path, training.configs)


def test_snapshot_of_other_runs_is_refused(training, tmp_path):
    path = tmp_path / "a.snapshot"
    snapshot_files.write(path, training.configs, *training.state())
    with pytest.raises(CheckpointError, match=rf"{path.name}.*\bruns\b"):
        snapshot_files.read(path, training.configs[::-1])
    with pytest.raises(CheckpointError, match=str(tmp_path / "none")):
        snapshot_files.read(tmp_path / "none", training.configs)


def changed(tensors, plain):
    """Yield contents of a snapshot that are invalid although the digest is correct."""
    for name in tensors:
        yield {key: value for key, value in tensors.items() if key != name}, plain
        yield tensors | {name: tensors[name].double()}, plain
        yield tensors | {name: torch.zeros(3)}, plain
    yield tensors | {"else": torch.zeros(2)}, plain
    yield tensors | {"optimizer.x.step": torch.zeros(2)}, plain
    yield tensors | {"companion.x": torch.zeros(2)}, plain
    states = {name: torch.zeros_like(value) for name, value in tensors.items() if name.startswith("stream")}
    yield tensors | states, plain
    for wrong in (None, [], 3, "x", {}, {"training": None, "companion": None}):
        yield tensors, wrong
    for key in plain["training"]:
        for wrong in (None, [], {}, "x", -1, 10**9, float("nan"), [{}], [{"epoch": "x"}] * 2):
            if (key, wrong) != ("seconds", 10**9):
                yield tensors, plain | {"training": plain["training"] | {key: wrong}}
    for wrong in (None, {}, [], "x", [[{}], []], [[{"epoch": 1}], 5]):
        yield tensors, plain | {"companion": wrong}


def test_a_snapshot_of_wrong_content_starts_from_epoch_1_with_a_warning(configs, tmp_path):
    """An invalid snapshot changes nothing: the runs are those of a start without it."""
    site = ExecutionConfig(device="cpu", snapshots=str(tmp_path), snapshot_seconds=0)
    stopped_at(4, configs, site)
    (path,) = tmp_path.iterdir()
    tensors, plain = snapshot_files.read(path, configs)
    images, labels = moevae.load_images(configs[0].data), moevae.load_labels(configs[0].data)
    for wrong in random.Random(0).sample([*changed(tensors, plain)], 50):
        snapshot_files.write(path, configs, *wrong)
        training = Population(configs, images, torch.device("cpu"), chunk=1)
        run_log = RunRecorder(configs, images, labels, None)
        before = training.state()
        with pytest.warns(UserWarning, match=path.name):
            snapshots._resume(path, training, {}, run_log)
        after = training.state()
        assert before[1] == after[1]
        assert before[0].keys() == after[0].keys()
        assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
        assert (run_log.curves, run_log.drawings) == ([[], []], {})


def test_a_pipe_is_no_snapshot(configs, tmp_path):
    os.mkfifo(tmp_path / "a.snapshot")
    with pytest.raises(CheckpointError, match=r"a\.snapshot"):
        snapshot_files.read(tmp_path / "a.snapshot", configs)
