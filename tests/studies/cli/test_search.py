import json
import os
import re
import signal
import subprocess
import sys
import tomllib

import pytest

from moevae.config.overrides import fingerprint
from studies import __main__ as cli
from studies.cli import ablate, options, report
from studies.design import design
from studies.execution import tasks
from studies.records import schema, store, study_file
from studies.search import objectives, spaces
from studies.search.registry import PRUNERS, SAMPLERS, SPACES
from studies.testing import synthetic

SMALL = ["--set", "train.epochs=4", "--trials", "3"]


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """Runs that train nothing and reports that are not written; returns what runs were done."""
    done: list[str] = []

    def train(configs, /, *, on_event, execution):
        done.extend(fingerprint(config) for config in configs)
        made = (synthetic.record(config) for config in configs)
        return [
            schema.Outcome(record=schema.Record.model_validate(tree), files=files) for tree, files in made
        ]

    monkeypatch.setattr(options, "code", lambda: None)  # made-up runs are of no code
    monkeypatch.setattr(tasks, "train", train)
    monkeypatch.setattr(ablate, "train", train)
    monkeypatch.setattr(report, "write_page", lambda folder: folder / "report.md")
    monkeypatch.chdir(tmp_path)
    return done


def test_a_search_states_the_best_and_writes_its_profile_and_report(quiet, tmp_path, capsys):
    assert cli.main(["search", *SMALL, "--name", "s", "--write-profile", "best.toml"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"^s: 3 trials .*\b6 runs\b.* results/s/report\.md$", captured.out, flags=re.M)
    number = int(re.search(r"trial (\d): mixture ELBO", captured.out)[1])
    assert "python -m studies ablate --profile best.toml" in captured.out
    assert "[3/3 trials, 0 s left]" in captured.err
    assert tomllib.loads((tmp_path / "best.toml").read_text())["name"] == f"s-trial-{number}"
    (*_, words) = study_file.read(tmp_path / "results" / "s").command.partition(" -- ")
    assert "--trials 3" in words
    assert cli.main(["search", *words.split()]) == 0
    assert len(quiet) == len(set(quiet)) == 6


def test_a_profile_of_the_user_is_not_replaced(quiet, tmp_path, capsys):
    mine = tmp_path / "mine.toml"
    for text in ('title = "mine"\n', 'title = "mine"\nname = "a"\ndescription = "mine"\n', "not TOML"):
        mine.write_text(text)
        assert cli.main(["search", *SMALL, "--write-profile", "mine.toml"]) == 2
        assert "already exists" in capsys.readouterr().err
        assert mine.read_text() == text
    assert not quiet
    mine.unlink()
    for _ in range(2):
        assert cli.main(["search", *SMALL, "--write-profile", "mine.toml"]) == 0
    edited = mine.read_text().replace("seeds = [", "seeds = [99,")
    assert edited != mine.read_text()
    mine.write_text(edited)
    assert cli.main(["search", *SMALL, "--write-profile", "mine.toml"]) == 2
    assert mine.read_text() == edited


def test_a_profile_written_during_the_search_is_not_replaced(quiet, tmp_path, capsys, monkeypatch):
    mine = tmp_path / "mine.toml"

    def write_page(folder):
        mine.write_text("mine")
        return folder / "report.md"

    monkeypatch.setattr(report, "write_page", write_page)
    assert cli.main(["search", *SMALL, "--name", "s", "--write-profile", "mine.toml"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert len(list((tmp_path / "results" / "s" / "records").glob("*.json"))) == 6


def test_the_profile_runs_with_twenty_seeds(quiet, tmp_path, capsys):
    assert cli.main(["search", *SMALL, "--name", "s", "--write-profile", "best.toml", "--trial", "1"]) == 0
    quiet.clear()
    assert cli.main(["ablate", "--profile", "best.toml", "--seeds", "20"]) == 0
    assert "s-trial-1: 20 runs trained" in capsys.readouterr().out
    (cell,) = design.load_design("best.toml").cells
    assert quiet == [fingerprint(cell.run(seed)) for seed in range(20)]
    searched = {path.stem for path in (tmp_path / "results" / "s" / "records").glob("*.json")}
    assert set(quiet[:2]) <= searched, "the profile's cell is the trial's"


def test_standard_output_contains_json_only(quiet, capsys):
    assert cli.main(["search", *SMALL, "--objective", "mixture_elbo,nmi,throughput", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["study"] == "search-gate-digits-mixture_elbo-nmi-throughput-" + tree["study"][-13:]
    assert tree["study"].endswith("-oracle")
    assert tree["oracle"] is True
    assert tree["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    assert set(tree["best"][0]["objectives"]) == {"mixture_elbo", "nmi", "throughput"}


def test_labels_show_in_all_that_is_reported(quiet, tmp_path, capsys):
    assert cli.main(["search", *SMALL, "--objective", "nmi", "--write-profile", "best.toml"]) == 0
    captured = capsys.readouterr()
    for line in (*captured.out.splitlines()[:3], *captured.err.splitlines()[:2]):
        assert "oracle" in line
    assert cli.main(["list"]) == 0
    assert "-oracle: complete" in capsys.readouterr().out
    (folder,) = (tmp_path / "results").iterdir()
    assert "oracle" in (folder / "study.json").read_text()
    profile = tomllib.loads((tmp_path / "best.toml").read_text())
    assert "oracle" in profile["description"]
    assert "oracle" in profile["name"]


def test_a_dry_run_shows_the_space_and_writes_nothing(quiet, tmp_path, capsys):
    before = files(tmp_path)
    assert cli.main(["search", "--space", "all", "--set", "train.batch_size=64", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "routing.temperature: 0.1 to 10, logarithmic" in output
    assert "model.expert_hidden: [32], [64], [128], [256]" in output
    assert "train.batch_size:" not in output
    assert cli.main(["search", "--dry-run", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["search"]["space"]) == set(spaces.GATE)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["--space", "gat"], "did you mean gate?"),
        (["--sampler", "tpx"], "did you mean tpe?"),
        (["--pruner", "medain"], "did you mean median?"),
        (["--trials", "0"], "--trials 0"),
        (["--trials", "many"], "--trials"),
        (["--timeout", "soon"], "--timeout soon"),
        (["--timeout", "0"], "--timeout 0"),
        (["--objective", "mni"], "did you mean nmi?"),
        (["--seeds", "1,1"], "seed 1 is given twice"),
        (["--set", "routing.temperatur=1"], "did you mean routing.temperature?"),
        (["--set", "data.validation_size=0"], "validation_size"),
        (["--preset", "zeldes2019"], "validation_size"),
        (["--name", "no/pe"], "no/pe"),
        (["--write-profile", "best.json"], ".toml"),
        (["--trial", "3"], "--write-profile"),
        (["--trials", "3", "--trial", "3", "--write-profile", "best.toml"], "0 to 2"),
        (["--workers", "none"], "--workers 'none'"),
        (["--population-chunk", "many"], "--population-chunk 'many'"),
        (["--memory", "1kB"], "1,000 bytes of memory are not enough"),
        (["--set", "data.name=npz:gone.npz"], "gone.npz"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_nothing_written(command, text, quiet, tmp_path, capsys):
    before = files(tmp_path)
    try:
        code = cli.main(["search", *command])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert text.lower() in line.lower()
    assert "Traceback" not in captured.err
    assert files(tmp_path) == before


def test_labels_that_are_not_there_are_missed_before_anything_is_written(quiet, tmp_path, capsys):
    import numpy as np

    np.savez(tmp_path / "mine.npz", images=np.zeros((40, 4, 4)))
    before = files(tmp_path)
    assert cli.main(["search", "--set", "data.name=npz:mine.npz", "--objective", "ari"]) == 2
    assert "no labels" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_help_names_all_there_is_to_choose(capsys):
    with pytest.raises(SystemExit):
        options.parse(["search", "--help"])
    output = " ".join(capsys.readouterr().out.split())
    for name in (*SPACES, *objectives.OBJECTIVES, *SAMPLERS, *PRUNERS):
        assert name in output


@pytest.mark.slow
def test_a_real_search_stops_continues_and_gives_the_numbers_of_one_that_was_not_stopped(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    small = ["--set", "train.epochs=3", "--set", "data.train_size=200", "--trials", "6", "--seeds", "1"]
    command = [sys.executable, "-m", "studies", "search", *small, "--name", "s", "--pruner", "none"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with subprocess.Popen(
        command, cwd=tmp_path / "a", env=environment, stderr=subprocess.PIPE, text=True
    ) as driver:
        for line in driver.stderr:
            if "[2/6 trials" in line:
                driver.send_signal(signal.SIGTERM)
                break
        stderr = driver.stderr.read()
    assert driver.returncode == 143, stderr
    assert "continue with: python -m studies search" in stderr
    for place in ("a", "b"):
        subprocess.run(command, cwd=tmp_path / place, env=environment, check=True, capture_output=True)
    stopped, whole = (
        {r.fingerprint: r.metrics for r in store.read_all(tmp_path / p / "results" / "s")[0]} for p in "ab"
    )
    assert len(whole) == 6
    assert stopped == whole
    again = subprocess.run(
        [*command, "--workers", "2", "--trials", "9"],
        cwd=tmp_path / "b",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "9 trials (9 complete), 3 runs trained" in again.stdout
