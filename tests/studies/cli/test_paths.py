"""Paths: never parsed as URLs, any bytes, and `~` is the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moevae.__main__ import main
from moevae.cli import process
from moevae.data import idx
from moevae.data.idx import data_root
from moevae.errors import ConfigError, DataError
from studies import __main__ as cli
from studies.cli import options
from studies.design import design
from studies.storage import connection as storage
from studies.testing.toy_studies import Bench
from studies.verify import check, rebuild

ODD = ["a%20b", "what?", "x#y", "a b", "{x}", "100%", "é", "a;b&c=d"]


@pytest.mark.parametrize("name", ODD)
def test_a_study_is_kept_in_a_folder_of_any_name(undrawn, tmp_path, name):
    here = tmp_path / name
    try:
        here.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    bench = Bench(here)
    bench.run()
    assert (bench.folder / "study.db").exists()
    assert check.verify(bench.folder).problems == ()
    assert rebuild.rebuild(bench.folder) == 4
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with storage.opened(storage.default_url(bench.folder)) as opened:
        assert len(opened.get_all_studies()) == 1


def test_a_tilde_in_an_option_is_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = options.parse(["ablate", "--data-root=~/data", "--results=~/results"])
    assert (typed.data_root, typed.results) == (tmp_path / "data", tmp_path / "results")
    (tmp_path / "own.toml").write_text(
        'title = "t"\npreset = "digits"\nseeds = 1\n[axes]\nrouting.kind = ["soft"]\n'
    )
    assert design.load_design("~/own.toml").name == "own"
    from moevae.cli.options import parse

    assert parse(["evaluate", "~/a.safetensors", "b"]).checkpoints == (tmp_path / "a.safetensors", Path("b"))


NO_HOME = """
import os, pwd, sys
def unknown(*_):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = pwd.getpwnam = unknown
os.environ.pop("HOME", None)
os.environ.pop("MOEVAE_DATA", None)
from {package}.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["moevae", "info"], 0, "unknown"),
        (["moevae", "info", "--data-root=~/x"], 2, "the home folder is unknown"),
        (["studies", "list"], 0, ""),
        pytest.param(
            *(["moevae", "train", "--data", "mnist"], 2, "--data-root or MOEVAE_DATA"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(["studies", "ablate", "--profile=~/x.toml"], 2, "the home folder is unknown"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_without_a_home_folder_there_is_no_traceback(tmp_path, command, code, message):
    package, *words = command
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME.format(package=package), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("XDG_")},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_data_root_is_required_without_a_home_folder(monkeypatch):
    def unknown(*_, **__):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("MOEVAE_DATA", raising=False)
    monkeypatch.setattr(idx, "user_cache_path", unknown)
    with pytest.raises(DataError, match="MOEVAE_DATA"):
        data_root()
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(ConfigError, match="~"):
        data_root(Path("~/data"))


def printed(tmp_path, *words, **more):
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, stderr=subprocess.PIPE, check=False, timeout=120, **more
    )


def test_characters_that_standard_output_cannot_encode_are_escaped(tmp_path):
    (tmp_path / "é").mkdir()
    done = printed(
        tmp_path,
        *("studies", "list", "--results", "é"),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Studies in \\xe9: none yet" in done.stdout


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "1</dev/null"])
@pytest.mark.parametrize("command", ["list", "report nowhere"])
def test_a_closed_stream_is_no_traceback(tmp_path, streams, command):
    words = f"{sys.executable} -m studies {command} {streams}"
    done = subprocess.run(
        ["/bin/sh", "-c", words], cwd=tmp_path, capture_output=True, check=False, timeout=120
    )
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"error" not in done.stdout, "what is for standard error stays out of standard output"
    assert done.returncode == 2 or (done.returncode == 0 and command == "list")


def test_a_name_that_is_not_utf8_is_refused_before_a_run_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "f\udcffr.npz"
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).random((60, 4, 4)))
    os.rename(tmp_path / "a.npz", os.fsencode(tmp_path / name))  # noqa: PTH104
    for command in (["train", "--data", f"npz:{name}"], ["train", "--set", f"data.name=npz:{name}"]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "not UTF-8" in line
    assert cli.main(["ablate", "--set", f"data.name=npz:{name}", "--dry-run"]) == 2
    assert len(list(tmp_path.iterdir())) == 1


def code_of(program, command):
    try:
        return program(command)
    except SystemExit as stop:
        return stop.code


def test_a_folder_that_is_not_utf8_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for program, command in (
        (main, ["train", "--output", "f\udcffr"]),
        (main, ["evaluate", "f\udcffr/a.safetensors"]),
        (cli.main, ["ablate", "--results", "f\udcffr"]),
        (cli.main, ["report", "a", "--results", "f\udcffr"]),
    ):
        assert code_of(program, command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "not UTF-8" in line
    assert list(tmp_path.iterdir()) == []
    try:
        (tmp_path / "f\udcffr").mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(tmp_path / "f\udcffr")
    assert cli.main(["ablate", "--set", "train.epochs=1"]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["ablate", "--name", "n" * 256],
        ["search", "--name", "n" * 256],
        ["report", "n" * 256],
        ["verify", "n" * 5000],
        ["ablate", "--profile", f"./{'n' * 256}.toml"],
        ["list", "--results", "n" * 256],
        ["ablate", "--results", "n" * 256, "--set", "train.epochs=1"],
    ],
)
def test_a_name_that_is_too_long_is_one_line(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    code = cli.main(command)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert code in ((0, 2) if command[0] == "list" else (2,))
    assert len([line for line in captured.err.splitlines() if line.startswith("error: ")]) == (code == 2)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_keeps_working_after_it_was_reopened(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert process.exit_code(lambda: print("nowhere") or 0) == 0
    sys.stdout.close()
