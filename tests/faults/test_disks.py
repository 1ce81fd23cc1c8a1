"""A full or read-only disk: one line, no partial file, and the study resumes once there is space."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moevae.config import overrides
from moevae.config import schema as configs
from moevae.training import snapshot_files
from studies import __main__ as cli
from studies.cli import ablate
from studies.cli import options as cli_options
from studies.cli import report as cli_report
from studies.records import store
from studies.storage import connection as storage
from studies.testing import synthetic
from studies.testing.toy_studies import ToyStudy
from studies.testing.toys import outcome

torch = pytest.importorskip("torch")
AXES = {"objective.balance_weight": [0.0, 20.0], "routing.kind": ["soft", "hard"]}


@pytest.fixture
def disk(tmp_path):
    """A file system of one megabyte; the test is skipped if it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> Path:
    """Fill the disk except for some bytes."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    size = ballast.stat().st_size
    os.truncate(ballast, max(0, size - leave))
    return ballast


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line with toy runs; return the exit code and the messages."""

    def run(study: ToyStudy) -> tuple[int, str]:
        monkeypatch.setattr(
            ablate, "train", lambda configs, /, *, on_event, execution: study.toy(configs, on_event=None)
        )
        monkeypatch.setattr(cli_options, "code", lambda: None)  # toys are of no code
        monkeypatch.setattr(ablate, "check", lambda configs, execution: None)
        monkeypatch.setattr(storage, "RETRY_SECONDS", 0.3)
        code = cli.main(
            ["ablate", "--profile", str(study.root / "toy.toml"), "--results", str(study.folder.parent)]
        )
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def study(tmp_path, disk, monkeypatch):
    """A toy study with its results on the small disk and everything else outside it."""
    monkeypatch.setattr(cli_report, "write_page", lambda folder: folder / "report.md")
    study = ToyStudy(tmp_path, 3)
    study.folder = disk / "results" / "toy"
    return study


def no_half_file(folder: Path) -> bool:
    return not store.read_all(folder)[1] and not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("when", ["at a record", "at the storage", "from the start"])
def test_a_full_disk(study, disk, run, monkeypatch, reliability, when):
    ballasts = []
    if when == "at a record":
        monkeypatch.setattr(
            study.toy.__class__, "__call__", _filling(study.toy.__class__.__call__, disk, ballasts)
        )
    elif when == "at the storage":
        monkeypatch.setattr(store, "write_record", _filling(store.write_record, disk, ballasts, after=True))
    else:
        ballasts.append(fill(disk))
    code, stderr = run(study)
    monkeypatch.undo()
    assert code == 2
    assert stderr.splitlines()[-1].startswith("error: ")
    assert "space left" in stderr or "disk is full" in stderr or "disk I/O" in stderr
    assert "Traceback" not in stderr
    if study.folder.exists():
        assert no_half_file(study.folder)
    for ballast in ballasts:
        ballast.unlink(missing_ok=True)
    study.run()
    study.assert_complete_once()
    reliability(
        "disk full",
        f"1 MB tmpfs, full {when}",
        "one line, exit code 2, no partial file; the next start completed the study",
    )


@pytest.mark.faults
def test_a_report_on_a_full_disk(disk, tmp_path, capsys, reliability):
    folder = synthetic.write(disk / "results" / "toy", synthetic.plan(AXES, seeds=[0]), synthetic.record)
    report = ["report", "toy", "--results", str(disk / "results")]
    assert cli.main(report) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "report.md").unlink()
    ballast = fill(disk)
    code = cli.main(report)
    stderr = capsys.readouterr().err
    assert code == 2
    assert "space left" in stderr.splitlines()[-1]
    assert not list(folder.rglob("*.tmp"))
    ballast.unlink()
    assert cli.main(report) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    reliability(
        "disk full", "1 MB tmpfs, full at the report", "one line, exit code 2; the next report is complete"
    )


def _filling(function, disk: Path, ballasts: list[Path], *, after: bool = False):
    def filling(*args, **options):
        if after:
            made = function(*args, **options)
            ballasts.append(fill(disk))
            return made
        ballasts.append(fill(disk))
        return function(*args, **options)

    return filling


def test_a_read_only_disk(study, disk, run, reliability):
    remount = ["mount", "-o", "remount,{}", str(disk)]
    subprocess.run([part.format("ro") for part in remount], check=True)
    code, stderr = run(study)
    assert code == 2
    assert "Read-only file system" in stderr.splitlines()[-1]
    assert not any(disk.iterdir())
    subprocess.run([part.format("rw") for part in remount], check=True)
    study.run()
    study.assert_complete_once()
    reliability(
        "read-only",
        "tmpfs mounted read-only",
        "one line, exit code 2, nothing written; the next start completed the study",
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path, run, monkeypatch):
    monkeypatch.setattr(cli_report, "write_page", lambda folder: folder / "report.md")
    study = ToyStudy(tmp_path, 3)
    study.folder = tmp_path / "results" / "toy"
    study.folder.parent.mkdir(mode=0o500)
    code, stderr = run(study)
    assert code == 2
    assert "Permission denied" in stderr.splitlines()[-1]
    study.folder.parent.chmod(0o700)
    study.run()
    study.assert_complete_once()


def test_a_full_disk_keeps_the_earlier_checkpoint(disk, tmp_path, reliability):
    config = [outcome_config()]
    path = disk / "a.snapshot"
    snapshot_files.write(path, config, {"weights": torch.zeros(1000)}, {"epoch": 1})
    fill(disk)
    with pytest.raises(OSError, match="space left") as caught:
        snapshot_files.write(path, config, {"weights": torch.ones(100_000)}, {"epoch": 2})
    assert caught.value.filename == str(path)
    tensors, plain = snapshot_files.read(path, config)
    assert plain == {"epoch": 1}
    assert not tensors["weights"].any()
    assert not list(disk.glob(".*"))
    reliability(
        "disk full",
        "1 MB tmpfs, full at a checkpoint",
        "a warning; the previous checkpoint is kept and training continues",
    )


def outcome_config() -> configs.RunConfig:
    return overrides.from_dict(outcome(configs.RunConfig()).record.config)
