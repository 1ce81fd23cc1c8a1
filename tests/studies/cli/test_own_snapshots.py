"""Of the folder `checkpoints`, a study removes the snapshots that it wrote, and nothing else."""

from dataclasses import replace

import pytest
import torch

from moevae.config.overrides import fingerprint
from moevae.config.presets import digits
from moevae.training import snapshot_files
from studies import __main__ as cli
from studies.cli import report
from studies.testing.toys import TINY_PROFILE


def put(folder, *seeds):
    configs = [replace(digits(), seed=seed) for seed in seeds]
    path = snapshot_files.snapshot_path(folder, configs, {"commit": "of the code"})
    snapshot_files.write(path, configs, {"x": torch.zeros(1)}, None)
    return path


def test_only_snapshots_of_runs_that_are_done_are_removed(tmp_path):
    done, half, other = put(tmp_path, 0, 1), put(tmp_path, 1, 2), put(tmp_path, 3)
    mine = [tmp_path / name for name in ("mine.snapshot", "notes.txt", "empty.snapshot")]
    for path, content in zip(mine, (b"mine" * 100, b"notes", b""), strict=True):
        path.write_bytes(content)
    (tmp_path / "folder.snapshot").mkdir()
    snapshot_files.remove(tmp_path, {fingerprint(replace(digits(), seed=seed)) for seed in (0, 1)})
    assert not done.exists()
    assert all(path.exists() for path in (half, other, *mine, tmp_path / "folder.snapshot"))
    for path in (half, other):
        path.unlink()


def test_a_folder_left_empty_is_removed(tmp_path):
    put(tmp_path / "checkpoints", 0)
    snapshot_files.remove(tmp_path / "checkpoints", {fingerprint(replace(digits(), seed=0))})
    assert list(tmp_path.iterdir()) == []


SEARCH = ["--trials", "1", "--seeds", "1", "--set", "train.epochs=1", "--set", "data.train_size=100"]


@pytest.mark.parametrize("command", [["ablate", "--profile", "./tiny.toml"], ["search", *SEARCH]])
@pytest.mark.parametrize("linked", [False, True], ids=["a folder", "a link"])
def test_files_of_the_user_among_checkpoints_are_kept(tmp_path, monkeypatch, command, linked):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write_page", lambda folder: folder / "report.md")
    (tmp_path / "tiny.toml").write_text(TINY_PROFILE)
    there = tmp_path / "results" / "s" / "checkpoints"
    there.parent.mkdir(parents=True)
    kept = tmp_path / "elsewhere" if linked else there
    kept.mkdir()
    if linked:
        there.symlink_to(kept)
    (kept / "weights.safetensors").write_bytes(b"mine")
    (kept / ".draft.tmp").write_bytes(b"mine")
    assert cli.main([*command, "--name", "s"]) == 0
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        "weights.safetensors": b"mine",
        ".draft.tmp": b"mine",
    }
    assert there.is_symlink() == linked
