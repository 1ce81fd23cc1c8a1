"""Interrupted training: it continues from its snapshot on the same data, and on no other data."""

import re
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, own, run_json
from refusals import refused

from moevae.__main__ import main
from moevae.training import snapshots, trainer


@pytest.fixture
def stop_after(monkeypatch):
    """Interrupt a command after some epochs; a snapshot is written after each."""
    defaults = snapshots.train_with_snapshots.__kwdefaults__ | {"seconds": 0.0}
    monkeypatch.setattr(snapshots.train_with_snapshots, "__kwdefaults__", defaults)

    def run(epochs, command):
        def stop(training, epoch=trainer.Trainer.epoch):
            if training.epochs_done == epochs:
                raise KeyboardInterrupt
            return epoch(training)

        with monkeypatch.context() as patch:
            patch.setattr(trainer.Trainer, "epoch", stop)
            assert main(command) == 130

    return run


def test_a_long_run_that_was_stopped_continues(tmp_path, capsys, stop_after):
    command = ["train", *TINY, "--set", "train.epochs=4"]
    stop_after(2, [*command, "--output", str(tmp_path / "stopped")])
    stderr = capsys.readouterr().err
    assert stderr.splitlines()[-1].startswith("interrupted: ")
    on = run_json(capsys, *command, "--output", str(tmp_path / "stopped"))
    whole = run_json(capsys, *command, "--output", str(tmp_path / "whole"))
    on_test, whole_test = (summary["runs"][0]["scores"]["test"]["metrics"] for summary in (on, whole))
    assert on_test == whole_test
    assert [path.suffix for path in (tmp_path / "stopped").iterdir()] == [".safetensors"]


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"seed": 1}, []),
        ({"images": np.random.default_rng(0).random((60, 3, 10))}, []),
        ({"images": np.random.default_rng(0).random((60, 7, 7))}, []),
        ({"labels": np.arange(60) % 3}, ["--set", "data.imbalance=0.5"]),
    ],
    ids=["pixels", "shape", "size", "labels that choose images"],
)
def test_interrupted_training_does_not_continue_with_other_data(
    here, capsys, monkeypatch, stop_after, changes, settings
):
    """It starts from epoch 1 with one warning, and keeps the snapshot of the earlier data."""
    command = ["train", *own(), *settings, "--set", "train.epochs=4", "--device", "cpu"]
    stop_after(2, [*command, "--output", "runs"])
    (kept,) = Path("runs").glob("*.snapshot")
    content = kept.read_bytes()
    own(**changes)
    capsys.readouterr()
    with pytest.warns(UserWarning, match=re.escape(kept.name)) as caught:
        again = run_json(capsys, *command, "--output", "runs")
    assert len(caught) == 1
    fresh = run_json(capsys, *command, "--output", "fresh")
    scores = [each["runs"][0]["scores"]["test"]["metrics"] for each in (again, fresh)]
    assert scores[0] == scores[1]
    assert kept.read_bytes() == content
    own()
    epochs = []
    monkeypatch.setattr(
        trainer.Trainer,
        "epoch",
        lambda training, epoch=trainer.Trainer.epoch: epochs.append(training.epochs_done) or epoch(training),
    )
    assert main([*command, "--output", "runs", "--force"]) == 0
    assert epochs == [2, 3]
    assert not kept.exists()


def test_changed_labels_that_choose_no_images_do_not_affect_training(here, capsys, stop_after):
    command = ["train", *own(), "--set", "train.epochs=2", "--output", "runs"]
    stop_after(1, command)
    own(labels=np.arange(60) % 2)
    assert main(command) == 0
    assert "warning" not in capsys.readouterr().err
    own(labels=np.arange(60) % 3)
    assert main(command) == 0  # trained before, and scored with the current labels
    (path,) = Path("runs").iterdir()
    assert main(["evaluate", str(path)]) == 0
    assert "labels" in capsys.readouterr().err


def test_labels_that_chose_the_images_of_a_run_are_its_data(here, capsys):
    command = ["train", *own(), "--set", "data.imbalance=0.5", "--output", "runs"]
    assert main(command) == 0
    own(labels=np.arange(60) % 3)
    assert "labels" in refused(command, capsys)
