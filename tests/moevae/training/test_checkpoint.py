"""Checkpoints: a bitwise round trip, or an error in one line."""

import json
import os
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from small import HEIGHT, ODD, WIDTH, config, images, same, weights

from moevae.config.overrides import fingerprint, override, to_dict
from moevae.errors import CheckpointError
from moevae.evaluation.evaluate import evaluate
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.training.fit import fit
from moevae.utils import content as contents

RUNS = [config(ODD | {"train.epochs": 1}, seed=seed) for seed in (3, 4)]


@pytest.fixture(scope="module")
def trained():
    return fit(RUNS, images())


@pytest.fixture
def saved(trained, tmp_path):
    path = tmp_path / "folder" / "run.safetensors"
    checkpoint.save(path, Trained.of(trained, 1, images()))
    return path


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def rewritten(path, changes=(), drop=(), keep=lambda name: True):
    """Write the checkpoint again with other metadata, or fewer weights."""
    with safe_open(path, framework="pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key not in drop}
        tensors = {name: file.get_tensor(name) for name in file.keys() if keep(name)}  # noqa: SIM118
    path.write_bytes(to_bytes(tensors, metadata | dict(changes)))
    return path


def test_a_run_is_restored_in_every_bit(trained, saved):
    found = checkpoint.load(saved)
    assert same(weights(found.model, 0), weights(trained.model, 1))
    assert (found.config, found.height, found.width, found.sha256) == (
        RUNS[1],
        HEIGHT,
        WIDTH,
        images().sha256,
    )
    expected = evaluate(trained.model, RUNS, images())[1].metrics
    assert evaluate(found.model, [found.config], images())[0].metrics == expected


def test_nothing_but_the_checkpoint_is_left_behind(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["run.safetensors"]


def test_saving_twice_gives_the_same_bytes(trained, saved):
    first = saved.read_bytes()
    checkpoint.save(saved, Trained.of(trained, 1, images()))
    header = json.loads(first[8 : 8 + struct.unpack("<Q", first[:8])[0]])
    assert header["__metadata__"]["fingerprint"] == fingerprint(RUNS[1])
    assert same(weights(checkpoint.load(saved).model, 0), weights(trained.model, 1))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "nothing.safetensors" in refused(tmp_path / "nothing.safetensors")
    assert str(tmp_path) in refused(tmp_path)


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for size in [0, 1, 7, 8, 9, *np.linspace(10, len(whole) - 1, 40).astype(int)]:
        saved.write_bytes(whole[:size])
        assert "not a complete safetensors file" in refused(saved)


def test_every_flipped_bit_of_header_and_weights_is_refused_or_changes_nothing(trained, saved):
    whole = saved.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    random = np.random.default_rng(0)
    positions = [*range(8), *random.integers(8, header, 200), *random.integers(header, len(whole), 60)]
    harmless, messages = 0, []
    for position in positions:
        broken = bytearray(whole)
        broken[position] ^= 1 << random.integers(8)
        saved.write_bytes(broken)
        try:
            found = checkpoint.load(saved)
        except CheckpointError as error:
            messages.append(str(error))
            continue
        harmless += 1
        assert position < header, "a weight was changed and nobody noticed"
        assert same(weights(found.model, 0), weights(trained.model, 1))
        assert (found.config, found.height, found.width) == (RUNS[1], HEIGHT, WIDTH)
    assert all("\n" not in message for message in messages)
    assert harmless < 20  # spaces and the digest of the images


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04 a pickle in a zip", b"<!DOCTYPE html>", b"\0" * 64, to_bytes({"w": torch.zeros(3)})],
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "moevae-run-0"}, "not a checkpoint of this version"),
        ({"config": "{"}, "invalid configuration"),
        ({"config": "[1, 2]"}, "invalid configuration"),
        ({"config": '{"model": {"num_expert": 3}}'}, "did you mean model.num_experts"),
        ({"config": json.dumps(to_dict(override(RUNS[1], {"seed": 5})))}, "checksum mismatch"),
        ({"fingerprint": "0" * 16}, "checksum mismatch"),
        ({"weights": "0" * 64}, "checksum mismatch"),
        ({"height": "five"}, "invalid configuration"),
        ({"height": "-5", "width": "-6"}, "expected at least 1 x 1"),
        ({"height": "7"}, "; expected shape"),
    ],
)
def test_changed_metadata_is_refused(saved, changes, message):
    assert message in refused(rewritten(saved, changes))


@pytest.mark.parametrize("key", ["format", "config", "fingerprint", "weights", "height", "width"])
def test_missing_metadata_is_refused(saved, key):
    refused(rewritten(saved, drop=[key]))


def test_missing_weights_are_refused(saved):
    assert "has no tensor; expected shape" in refused(
        rewritten(saved, keep=lambda name: "decoder" not in name)
    )


def test_weights_of_another_shape_are_refused(saved):
    other = override(RUNS[1], {"model.latent_dim": 5})
    path = rewritten(saved, {"config": json.dumps(to_dict(other)), "fingerprint": fingerprint(other)})
    assert "; expected shape" in refused(path)


def test_a_write_that_fails_leaves_the_old_checkpoint(trained, saved, monkeypatch):
    before = saved.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(saved, Trained.of(trained, 0, images()))
    assert saved.read_bytes() == before
    assert len(list(saved.parent.iterdir())) == 1


def resealed(path, tensors, config):
    """Write tensors as a checkpoint with valid digests."""
    metadata = {
        "format": checkpoint.FORMAT,
        "config": json.dumps(to_dict(config)),
        "fingerprint": fingerprint(config),
        "height": str(HEIGHT),
        "width": str(WIDTH),
        "weights": checkpoint._digest(tensors)
        if all(t.dtype != torch.bfloat16 for t in tensors.values())
        else "",
    }
    path.write_bytes(to_bytes(tensors, metadata))
    return path


@pytest.fixture
def tensors(saved):
    with safe_open(saved, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, tensors, value):
    tensors["experts.decoder.layers.0._weight"][0, 3] = value
    assert "decoder.layers.0._weight contains values that are not finite" in refused(
        resealed(saved, tensors, RUNS[1])
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.complex64])
def test_weights_of_another_type_are_refused(saved, tensors, dtype):
    tensors["gate.expert_bias"] = tensors["gate.expert_bias"].to(dtype)
    assert "gate.expert_bias has shape [1, 7] of" in refused(resealed(saved, tensors, RUNS[1]))


@pytest.mark.parametrize(
    "changes",
    [
        {"model.num_experts": 10**9},
        {"model.latent_dim": 10**15},
        {"model.expert_hidden": [10**12, 10**12]},
        {"model.expert_hidden": [1] * 100_000},
    ],
)
def test_sizes_are_compared_before_anything_is_built(saved, tensors, changes, monkeypatch):
    def build(*arguments):
        raise AssertionError("a model was begun outside `meta`")

    resealed(saved, tensors, override(RUNS[1], changes))
    monkeypatch.setattr(checkpoint.Mixture, "load_state_dict", build)
    refused(saved)


def test_nothing_is_allocated_for_a_model_before_its_shapes_are_compared(saved, tensors, monkeypatch):
    """The shapes fit into memory, so allocation would not fail."""
    built, real = [], checkpoint.Mixture

    def build(*arguments):
        model = real(*arguments)
        built.append({value.device.type for value in model.state_dict().values()})
        return model

    resealed(saved, tensors, override(RUNS[1], {"model.num_experts": 8}))
    monkeypatch.setattr(checkpoint, "Mixture", build)
    assert "expected shape" in refused(saved)
    assert built == [{"meta"}]


def test_deep_and_endless_metadata_are_refused(saved):
    for text in ("[" * 100_000, '{"model":' * 100_000, "9" * 100_000, '{"' + "x" * 10**6 + '": 1}'):
        message = refused(rewritten(saved, {"config": text}))
        assert len(message) < 600


def test_a_file_larger_than_memory_is_refused(saved, monkeypatch):
    monkeypatch.setattr(contents, "available_memory", lambda: 2 * saved.stat().st_size - 1)
    assert "too large" in refused(saved)
