import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moevae.cli.parser import one_line
from studies import __main__ as cli
from studies.cli import ablate
from studies.cli import options as arguments
from studies.cli import report as cli_report
from studies.cli.commands import STUDIES
from studies.records import store
from studies.testing.toys import PROFILE, Toy

SMALL = ["--set", "train.epochs=1", "--set", "data.train_size=100", "--set", "routing.temperature=1"]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A toy profile, and toys in place of training and of the report."""
    run_log = tmp_path / "run_log"
    run_log.mkdir()
    (tmp_path / "toy.toml").write_text(PROFILE)
    toy = Toy(run_log)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arguments, "code", lambda: None)  # toys are of no code
    monkeypatch.setattr(ablate, "train", lambda configs, /, *, on_event, **_: toy(configs, on_event=on_event))
    monkeypatch.setattr(ablate, "check", lambda configs, **_: None)
    monkeypatch.setattr(cli_report, "write_page", lambda folder: folder / "report.md")
    return toy


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_ablate_trains_each_run_once_and_counts_them(toy, capsys):
    assert cli.main(["ablate", "--profile", "./toy.toml"]) == 0
    first = capsys.readouterr()
    assert re.fullmatch(r"toy: 12 runs .*\b0\b.* results/toy/report\.md\n", first.out)
    assert "4 cells x 3 seeds = 12 runs" in first.err
    assert "[12/12 runs, 0 s left]" in first.err
    assert cli.main(["ablate", "--profile", "./toy.toml"]) == 0
    assert "12 runs" in capsys.readouterr().out
    assert set(toy.counts().values()) == {1}


def test_standard_output_contains_json_only(toy, capsys):
    assert cli.main(["ablate", "--profile", "./toy.toml", "--seeds", "0,7", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output == {
        "study": "toy",
        "folder": "results/toy",
        "runs": 8,
        "already": 0,
        "trained": 8,
        "failed": 0,
        "report": "results/toy/report.md",
    }
    assert cli.main(["list", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert {"quick", "mnist-quick"} <= {profile["name"] for profile in tree["profiles"]}
    (study,) = tree["studies"]
    assert (study["name"], study["state"], study["runs"], study["complete"]) == ("toy", "complete", 8, 8)


def test_a_dry_run_shows_each_cell_and_writes_nothing(toy, tmp_path, capsys):
    before = files(tmp_path)
    assert cli.main(["ablate", "--profile", "./toy.toml", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert len(re.findall(r"^ +\d+  balance_weight = ", output, flags=re.M)) == 4
    assert "12 runs" in output
    assert cli.main(["ablate", "--profile", "./toy.toml", "--dry-run", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [len(cell["runs"]) for cell in cells] == [3] * 4
    assert files(tmp_path) == before


def test_failed_runs_are_reported(toy, monkeypatch, capsys, tmp_path):
    failing = Toy(tmp_path / "run_log", failing=frozenset({1}))
    monkeypatch.setattr(
        ablate, "train", lambda configs, /, *, on_event, **_: failing(configs, on_event=on_event)
    )
    assert cli.main(["ablate", "--profile", "./toy.toml"]) == 0
    stderr = capsys.readouterr().err
    assert stderr.count("loss became nan") == 4
    assert stderr.count("--set train.learning_rate=0.0005") == 1
    assert "--retry-failed" in stderr
    assert cli.main(["ablate", "--profile", "./toy.toml", "--seeds", "1,"]) == 1
    assert cli.main(["list"]) == 0
    assert "toy: complete, 8 of 12 runs, 4 failed" in capsys.readouterr().out


def test_an_interrupt_states_how_to_continue(toy, monkeypatch, capsys, tmp_path):
    broken = Toy(tmp_path / "run_log", broken=KeyboardInterrupt())
    monkeypatch.setattr(
        ablate, "train", lambda configs, /, *, on_event, **_: broken(configs, on_event=on_event)
    )
    command = ["ablate", "--profile", "./toy.toml"]
    assert cli.main(command) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"\b6 of 12 runs\b.*: python -m studies ablate --profile \./toy\.toml$", last)
    assert cli.main(["list"]) == 0
    assert "toy: incomplete, 6 of 12 runs" in capsys.readouterr().out


def test_sigterm_ends_like_an_interrupt(toy, monkeypatch, capsys):
    def train(configs, /, *, on_event, **_):
        if toy.counts():
            os.kill(os.getpid(), signal.SIGTERM)
        return toy(configs, on_event=on_event)

    monkeypatch.setattr(ablate, "train", train)
    monkeypatch.setenv("NOX_CURRENT_SESSION", "ablations")
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["ablate", "--profile", "./toy.toml"]) == 143
    stderr = capsys.readouterr().err
    assert re.search(r"\b3 of 12 runs\b.*: nox -s ablations -- --profile \./toy\.toml$", stderr, flags=re.M)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["ablat"], "did you mean ablate?"),
        (["ablate", "--sedes", "3"], "unknown option --sedes: did you mean --seeds?"),
        (["ablate", "--seed", "3"], "unknown option --seed: did you mean --seeds?"),
        (["ablate", "--epochs", "3"], "unknown option --epochs: write --set train.epochs=3"),
        (["list", "--epochs"], "unknown option --epochs: python -m studies list --help lists"),
        (["report", "a", "b"], "'b': unexpected argument"),
        (["verify"], "python -m studies verify needs STUDY|DIR: name of a study, or its folder"),
        (["ablate", "--device", "gpu"], "'gpu'"),
        (["ablate", "--profile"], "--profile"),
        (["ablate", "--profile", "quik"], "did you mean quick"),
        (["ablate", "--profile", "no/such.toml"], "no/such.toml"),
        (["ablate", "--seeds", ""], "--seeds ''"),
        (["ablate", "--seeds", "0"], "--seeds '0'"),
        (["ablate", "--seeds", "3,3"], "seed 3 is given twice"),
        (["ablate", "--set", "train.epochs"], "KEY=VALUE"),
        (["ablate", "--set", "routing.temperature=0"], "routing.temperature = 0"),
        (["ablate", "--set", "model.num_experts=0"], "model.num_experts = 0"),
        (["ablate", "--set", "objective.balance_weight=nan"], "objective.balance_weight"),
        (["ablate", "--set", "data.name=minst"], "minst"),
        (["ablate", "--storage", "nonsense"], "expected sqlite:"),
        (["ablate", "--storage", "foo://me:secret@x"], "--storage foo://me:***@x: "),
        (["search", "--storage", "sqlite://:x:y"], "--storage sqlite://:x:y: "),
        (["report", "nowhere"], "no study 'nowhere'"),
        (["report"], "no studies here"),
        (["verify", "nowhere"], "no study 'nowhere'"),
        (["rebuild-storage", "nowhere"], "no study 'nowhere'"),
        (["pack", "nowhere"], "no study 'nowhere'"),
        (["unpack", "nowhere"], "no study 'nowhere'"),
        (["ablate", "--workers", "0"], "--workers '0'"),
        (["ablate", "--population-chunk", "0"], "--population-chunk '0'"),
        (["ablate", "--memory", "much"], "--memory 'much'"),
        (["ablate", "--dask", "nowhere"], "--dask nowhere: missing port number"),
        (["ablate", "--dask", "foo://x:3"], "--dask foo://x:3: unknown address scheme 'foo'"),
        (["ablate", "--workers", "2", "--dask", "tcp://localhost:1"], "--dask and --workers"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_nothing_written(command, message, toy, tmp_path, capsys):
    before = files(tmp_path)
    try:
        code = cli.main(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert message.lower() in line.lower()
    assert files(tmp_path) == before


def test_help_fits_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    for command in STUDIES.commands:
        with pytest.raises(SystemExit) as stop:
            arguments.parse([command.name, "--help"])
        assert stop.value.code == 0
        output = capsys.readouterr().out
        usage, *lines = output.splitlines()
        assert usage.startswith("usage: ")
        assert len(usage) <= 115
        assert max(map(len, lines)) <= 80
        assert output.count("None)") == 0


def test_the_list_fits_a_terminal_and_states_what_to_expect(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COLUMNS", "50")
    assert cli.main(["list", "--results", str(tmp_path / "none")]) == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines()[1:-1])) <= 50
    assert "24 cells x 3 seeds; expect 3 minutes on 2 CPU cores\n" in " ".join(output.split("\n      "))


def test_the_expected_time_is_that_of_the_profiles_own_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for options, message in (
        ([], "; expect 3 minutes on"),
        (["--seeds", "5"], "; for 3 seeds without baselines expect 3 minutes on"),
        (["--baselines", "kmeans"], "; for 3 seeds without baselines expect 3 minutes on"),
    ):
        assert cli.main(["ablate", "--dry-run", *options]) == 0
        assert message in capsys.readouterr().out


def test_boxes_with_and_without_utf8_become_one_line():
    drawn = "╭─ Title ─╮\n│ Something │\n│ is wrong. │\n│ ───────── │\n│ For help  │\n╰───────────╯\n"
    plain = " Title     \n --------- \n Something \n is wrong. \n --------- \n For help  \n\n"
    assert one_line(drawn, None, "it") == one_line(plain, None, "it") == "something is wrong."


def test_listing_needs_neither_torch_nor_optuna(tmp_path):
    code = (
        "import sys; from studies.__main__ import main; main(['list']); main(['ablate', '--dry-run'])\n"
        "assert not {'torch', 'optuna', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)


def test_a_missing_device_or_data_set_is_found_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["ablate", *SMALL, "--set", "data.name=npz:nothing.npz"]) == 2
    assert "nothing.npz" in capsys.readouterr().err
    assert cli.main(["ablate", "--set", "data.train_size=100000"]) == 2
    assert "100000" in capsys.readouterr().err.replace(",", "")
    assert files(tmp_path) == []


@pytest.mark.slow
def test_sigterm_ends_a_real_study_and_the_command_it_prints_continues(tmp_path):
    """The whole path with nothing replaced: train, stop, resume, report; then nothing left to train."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "studies", "ablate", *SMALL, "--seeds", "2", "--name", "small"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("results/small/records/*.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        driver.send_signal(signal.SIGTERM)
        stderr = driver.communicate(timeout=60)[1]
    assert driver.returncode == 143, stderr
    done = len(list(tmp_path.glob("results/small/records/*.json")))
    assert 0 < done < 16
    assert re.search(rf"\b{done} of 16 runs\b.*: python -m studies ablate ", stderr)
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"small: {16 - done} runs trained, {done} already recorded" in again.stdout
    report = (tmp_path / "results" / "small" / "report.md").read_bytes()
    third = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "16 runs" in third.stdout
    assert (tmp_path / "results" / "small" / "report.md").read_bytes() == report


def test_a_closed_pipe_gives_exit_code_141(tmp_path):
    command = [sys.executable, "-m", "studies", "ablate", "--dry-run", "--results", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 141)


def test_a_file_where_results_should_be_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert cli.main(["ablate", "--results", str(tmp_path / "file" / "sub"), "--device", "cpu"]) == 2
    assert "(Not a directory)" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(("which", "count"), [("best", 1), ("all", 2)])
def test_weights_that_are_kept_give_the_numbers_of_the_record(which, count, tmp_path, monkeypatch, capsys):
    from moevae.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_report, "write_page", lambda folder: folder / "report.md")
    (tmp_path / "tiny.toml").write_text(
        'title = "t"\npreset = "digits"\nseeds = 2\n[set]\ntrain.epochs = 1\ndata.train_size = 100\n'
        "[axes]\nmodel.num_experts = [2]\n"
    )
    assert cli.main(["ablate", "--profile", "./tiny.toml", "--keep-weights", which]) == 0
    kept = sorted(Path("results/tiny/weights").glob("*.safetensors"))
    assert len(kept) == count
    for path in kept:
        capsys.readouterr()
        assert main(["evaluate", str(path), "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["runs"]
        record = json.loads((Path("results/tiny/records") / f"{path.stem}.json").read_text())
        for name, value in record["metrics"]["test"].items():
            assert found["metrics"][name] == pytest.approx(value, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("which", "count"), [("best", 1), ("all", 2)])
def test_recorded_runs_are_trained_again_to_keep_their_weights(which, count, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_report, "write_page", lambda folder: folder / "report.md")
    (tmp_path / "tiny.toml").write_text(
        'title = "t"\npreset = "digits"\nseeds = 2\n[set]\ntrain.epochs = 1\ndata.train_size = 100\n'
        "[axes]\nmodel.num_experts = [2]\n"
    )
    study = ["ablate", "--profile", "./tiny.toml"]
    assert cli.main(study) == 0
    records = {path: path.read_bytes() for path in Path("results/tiny/records").iterdir()}
    forged = sorted(path for path in records if path.suffix == ".json")[0]
    for again in (True, False):  # the second time there is nothing left to do
        capsys.readouterr()
        assert cli.main([*study, "--keep-weights", which]) == 0
        found = {path.stem: path.read_bytes() for path in Path("results/tiny/weights").glob("*.safetensors")}
        assert len(found) == count
        assert ("weights" in capsys.readouterr().err) == again
    assert {path: path.read_bytes() for path in records} == records
    assert cli.main([*study, "--keep-weights", which, "--name", "other"]) == 0
    other = {path.stem: path.read_bytes() for path in Path("results/other/weights").glob("*.safetensors")}
    assert other.keys() == found.keys()

    if which == "best":  # of all recorded runs, whichever seeds are asked for
        for seeds in ("0,", "1,"):
            capsys.readouterr()
            assert cli.main([*study, "--seeds", seeds, "--keep-weights", which]) == 0
            assert "weights" not in capsys.readouterr().err

    # A record whose numbers training does not repeat gets no weights.
    shutil.rmtree("results/tiny/weights")
    tree = json.loads(store.without_digest(forged.read_bytes()))
    tree["metrics"]["test"]["nmi"] = 0.123
    tree["curve"]["loss"][-1] = -1e6  # the best
    forged.write_bytes(store.with_digest(tree))
    capsys.readouterr()
    assert cli.main([*study, "--keep-weights", which]) == 0
    assert forged.stem in capsys.readouterr().err
    assert not Path(f"results/tiny/weights/{forged.stem}.safetensors").exists()
