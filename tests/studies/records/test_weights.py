"""Weights of a study: the best run of a cell or all, and files of the user are never touched."""

import errno
import itertools
import json

import pytest

from moevae.config.overrides import override
from moevae.config.presets import preset
from moevae.errors import RecordError
from moevae.utils.io import write_atomically
from studies.records import weights
from studies.records.schema import Curve, Epoch
from studies.testing.toys import outcome


def made(seed, loss, gate_loss=None):
    """An outcome with weights, whose training ended with a loss."""
    toy = outcome(override(preset("digits"), {"seed": seed}))
    metrics = {} if gate_loss is None else {"gate_loss": gate_loss}
    curve = [Epoch(epoch=1, loss=-9.0, temperature=1.0, metrics={})]
    curve.append(Epoch(epoch=2, loss=loss, temperature=1.0, metrics=metrics))
    return toy.model_copy(
        update={
            "weights": f"weights {seed}".encode(),
            "record": toy.record.model_copy(update={"curve": Curve.of(curve)}),
        }
    )


def kept(folder):
    return {path.stem: path.read_bytes() for path in (folder / "weights").glob("*.safetensors")}


def listed(folder):
    return set(json.loads((folder / "weights" / "manifest.json").read_text())["files"])


RUNS = [made(0, 5.0), made(1, 3.0), made(2, 4.0)]
NAMES = [each.record.fingerprint for each in RUNS]


def test_all_weights_are_kept(tmp_path):
    weights.keep(tmp_path, "cell", RUNS, "all")
    assert kept(tmp_path) == {name: f"weights {seed}".encode() for seed, name in enumerate(NAMES)}
    assert listed(tmp_path) == set(NAMES)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_best_of_each_cell_is_kept_in_any_order(order, tmp_path):
    for place in order:
        weights.keep(tmp_path, "cell", [RUNS[place]], "best")
    weights.keep(tmp_path, "other", [made(9, 100.0)], "best")
    assert kept(tmp_path).keys() == {NAMES[1], made(9, 0.0).record.fingerprint} == listed(tmp_path)


def test_the_loss_of_the_gate_counts_where_there_is_one(tmp_path):
    first, second = made(0, 1.0, gate_loss=5.0), made(1, 9.0, gate_loss=4.0)
    weights.keep(tmp_path, "cell", [first, second], "best")
    assert kept(tmp_path).keys() == {second.record.fingerprint}


def test_a_file_that_the_study_did_not_write_is_neither_removed_nor_replaced(tmp_path):
    weights.keep(tmp_path, "cell", [RUNS[0]], "best")
    path = weights.path_of(tmp_path, NAMES[0])
    path.write_bytes(b"mine")
    weights.keep(tmp_path, "cell", [RUNS[1]], "best")
    assert path.read_bytes() == b"mine"
    with pytest.raises(RecordError, match=path.name):
        weights.keep(tmp_path, "cell", [RUNS[0]], "all")
    assert path.read_bytes() == b"mine"
    (tmp_path / "weights" / "notes.txt").write_text("mine")
    weights.keep(tmp_path, "cell", [RUNS[1], RUNS[2]], "best")
    assert (tmp_path / "weights" / "notes.txt").read_text() == "mine"


def test_a_run_that_is_written_again_is_the_same_file(tmp_path):
    weights.keep(tmp_path, "cell", [RUNS[0]], "best")
    weights.keep(tmp_path, "cell", [RUNS[0]], "best")
    assert kept(tmp_path).keys() == {NAMES[0]} == listed(tmp_path)


@pytest.mark.parametrize("which", ["best", "all"])
@pytest.mark.parametrize("write", [1, 2])
def test_a_crash_between_two_files_is_resumed(write, which, tmp_path, monkeypatch):
    calls = itertools.count(1)

    def crashing(path, content):
        if next(calls) == write:
            raise OSError(errno.ENOSPC, "no space left", str(path))
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "write_atomically", crashing)
        with pytest.raises(OSError, match="no space"):
            weights.keep(tmp_path, "cell", [RUNS[0]], which)
    assert not weights.kept(tmp_path)
    weights.keep(tmp_path, "cell", [RUNS[0]], which)
    assert kept(tmp_path).keys() == {NAMES[0]} == weights.kept(tmp_path)


def test_weights_of_the_study_that_are_not_listed_are_its_own(tmp_path):
    weights.keep(tmp_path, "cell", [RUNS[0]], "all")
    (tmp_path / "weights" / "manifest.json").unlink()
    weights.keep(tmp_path, "cell", [RUNS[0]], "all")
    assert weights.kept(tmp_path) == {NAMES[0]}


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', '{"files": {"a": {}}}'])
def test_a_broken_manifest_is_an_error_that_names_it(content, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "manifest.json").write_text(content)
    with pytest.raises(RecordError, match=r"manifest\.json"):
        weights.keep(tmp_path, "cell", RUNS, "all")
    assert not kept(tmp_path)


def test_outcomes_without_weights_write_nothing(tmp_path):
    weights.keep(tmp_path, "cell", [outcome(preset("digits"))], "all")
    assert not list(tmp_path.iterdir())
