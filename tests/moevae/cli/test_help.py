"""The command line without training: dry runs and help."""

import json
import re
import subprocess
import sys

import pytest
from commands import TINY, files, run_json, tiny

from moevae.__main__ import main
from moevae.config import overrides, presets


def test_a_dry_run_states_the_runs_without_torch(tmp_path):
    script = (
        "import sys; from moevae.__main__ import main;"
        "code = main(sys.argv[1:]); sys.exit('torch was imported' if 'torch' in sys.modules else code)"
    )
    command = [*TINY, "--seeds", "0,7", "--dry-run", "--json", "--output", str(tmp_path / "runs")]
    done = subprocess.run([sys.executable, "-c", script, "train", *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    runs = json.loads(done.stdout)["runs"]
    assert [overrides.from_dict(entry["config"]) for entry in runs] == [tiny(0), tiny(7)]
    assert not files(tmp_path)


def test_a_dry_run_prints_settings_that_set_accepts(capsys):
    assert main(["train", "--preset", "zeldes2019", "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if re.match(r"[a-z]+\.\w+=", line)]
    typed = [word for line in lines for word in ("--set", line)]
    (entry,) = run_json(capsys, "train", *typed, "--dry-run")["runs"]
    assert overrides.from_dict(entry["config"]) == presets.preset("zeldes2019")


@pytest.mark.parametrize("command", ["train", "evaluate", "assign", "sample", "explore", "info"])
def test_help_fits_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert not stop.value.code
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert "Examples:" in page


def test_help_names_all_presets(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    output = "".join(capsys.readouterr().out.replace("│", "").split())
    assert set(presets.PRESETS) <= set(re.split(r"[,.:;()]|oneof", output))
