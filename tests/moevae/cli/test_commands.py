"""`python -m moevae`: runs are trained once, evaluated consistently, drawn, and reported as JSON."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from commands import TINY, files, own, run_json, tiny
from PIL import Image
from refusals import refused
from sklearn.datasets import load_digits

from moevae.__main__ import main
from moevae.config import overrides, presets
from moevae.data import sources
from moevae.data.datasets import load_images, load_labels
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.label_metrics import agreement
from moevae.training import checkpoint
from moevae.training.fit import fit

REAL = Path(os.environ.get("MOEVAE_DATA", "nowhere"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the tiny runs of seeds 0 and 1, trained together."""
    folder = tmp_path_factory.mktemp("kept")
    assert main(["train", *TINY, "--seeds", "2", "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(kept):
    """The checkpoint of seed 0."""
    return kept / f"{overrides.fingerprint(tiny())}.safetensors"


def weights(path):
    """The bytes of each tensor; the order of a header's entries is not fixed."""
    return {name: value.tobytes() for name, value in safetensors.numpy.load_file(path).items()}


def test_training_saves_runs_with_the_numbers_of_the_library(kept, run, capsys):
    summary = run_json(capsys, "train", *TINY, "--seeds", "2", "--output", str(kept))
    assert [Path(entry["checkpoint"]).stem for entry in summary["runs"]] == [
        overrides.fingerprint(tiny(seed)) for seed in (0, 1)
    ]
    data = tiny().data
    trained, labels = checkpoint.load(run), load_labels(data)
    (measured,) = evaluate(trained.model, [trained.config], load_images(data), "test")
    expected = measured.metrics | agreement(measured, labels, "test", data)
    assert summary["runs"][0]["scores"]["test"]["metrics"] == pytest.approx(expected, rel=1e-5)
    assert sum(summary["runs"][0]["scores"]["test"]["load"]) == pytest.approx(1)


def test_existing_runs_are_evaluated_and_not_trained_again(kept, capsys, monkeypatch):
    from moevae.training import population

    asked, begin = [], population.Trainer
    monkeypatch.setattr(
        population,
        "Trainer",
        lambda configs, *rest, **named: asked.extend(configs) or begin(configs, *rest, **named),
    )
    before = files(kept)
    summary = run_json(capsys, "train", *TINY, "--seeds", "1,4", "--output", str(kept))
    assert [entry["status"] for entry in summary["runs"]] == ["existing", "trained"]
    assert asked == [tiny(4)]
    again = run_json(capsys, "train", *TINY, "--seeds", "4,1", "--output", str(kept))
    assert [entry["status"] for entry in again["runs"]] == ["existing", "existing"]
    assert [entry["scores"]["test"]["metrics"] for entry in again["runs"]] == [
        pytest.approx(entry["scores"]["test"]["metrics"], rel=1e-5) for entry in reversed(summary["runs"])
    ]
    assert asked == [tiny(4)]
    assert files(kept).items() > before.items()


def test_force_and_training_alone_give_the_same_weights(kept, tmp_path, capsys):
    before = {path: weights(path) for path in kept.iterdir()}
    assert main(["train", *TINY, "--seeds", "2", "--output", str(kept), "--force"]) == 0
    assert "epoch 1/1" in capsys.readouterr().err
    assert {path: weights(path) for path in kept.iterdir()} == before
    assert main(["train", *TINY, "--seed", "1", "--output", str(tmp_path)]) == 0
    (alone,) = tmp_path.iterdir()
    assert weights(alone) == weights(kept / alone.name)


def test_evaluation_gives_what_training_reported(kept, run, capsys):
    trained = run_json(capsys, "train", *TINY, "--output", str(kept))["runs"][0]["scores"]
    for split in ("validation", "test"):
        (entry,) = run_json(capsys, "evaluate", str(run), "--split", split)["runs"]
        assert entry["metrics"] == trained[split]["metrics"]
    (small,) = run_json(capsys, "evaluate", str(run), "--memory", "2MiB")["runs"]
    assert small["metrics"] == pytest.approx(trained["test"]["metrics"], rel=1e-6)
    (finer,) = run_json(capsys, "evaluate", str(run), "--set", "evaluation.num_samples=3")["runs"]
    assert finer["metrics"]["mixture_elbo"] != trained["test"]["metrics"]["mixture_elbo"]
    assert finer["metrics"]["acc"] == trained["test"]["metrics"]["acc"]


def test_tables_fit_80_columns_and_average_seeds_only(kept, run, here, capsys):
    runs = [str(kept / f"{overrides.fingerprint(tiny(seed))}.safetensors") for seed in (1, 0)]
    entries = run_json(capsys, "evaluate", *runs)["runs"]
    assert main(["evaluate", *runs]) == 0
    page = capsys.readouterr().out
    cells = next(line for line in page.splitlines() if line.startswith("mixture_elbo")).split()
    one, zero = (entry["metrics"]["mixture_elbo"] for entry in entries)
    expected = [zero, one, (zero + one) / 2, abs(zero - one) / 2**0.5]
    assert [float(cell) for cell in cells[2:]] == pytest.approx(expected, abs=0.006)
    assert max(len(line) for line in page.splitlines() if not line.startswith(("on ", "seed "))) <= 80
    assert main(["train", *own(), "--output", "."]) == 0
    (other,) = Path().glob("*.safetensors")
    capsys.readouterr()
    assert main(["evaluate", str(run), str(other)]) == 0
    page = capsys.readouterr().out
    assert "mean" not in page
    assert "run 2: " in page


def test_labels_decide_no_weight_and_may_be_missing(here, capsys):
    command = ["train", *own(), "--output", "."]
    (scored,) = run_json(capsys, *command)["runs"]
    assert {"acc", "nmi", "ari"} <= scored["scores"]["test"]["metrics"].keys()
    before = weights(scored["checkpoint"])
    own(labels=np.arange(60) % 2)
    (other,) = run_json(capsys, *command, "--force")["runs"]
    assert other["scores"]["test"]["metrics"]["nmi"] != scored["scores"]["test"]["metrics"]["nmi"]
    own(labels=None)
    (bare,) = run_json(capsys, *command, "--force")["runs"]
    assert not {"acc", "nmi", "ari"} & bare["scores"]["test"]["metrics"].keys()
    assert weights(bare["checkpoint"]) == before


def test_a_run_on_changed_images_is_not_reused(here, capsys):
    command = ["train", *own(), "--output", "."]
    assert main(command) == 0
    own(seed=1)
    (path,) = Path().glob("*.safetensors")
    assert path.name in refused(command, capsys)
    assert main(["evaluate", str(path)]) == 0
    assert path.name in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_a_run_that_fails_is_reported_and_the_others_are_kept(tmp_path, capsys, monkeypatch):
    from moevae.training.population import Population
    from moevae.training.results import TrainingFailure

    def result(training, result=Population.result):
        done = result(training)
        done.failures[0] = TrainingFailure(epoch=1, step=7, reason="the loss became nan")
        return done

    monkeypatch.setattr(Population, "result", result)
    command = ["train", *TINY, "--seeds", "2", "--output", str(tmp_path)]
    summary = run_json(capsys, *command, code=1)
    assert [entry["status"] for entry in summary["runs"]] == ["failed", "trained"]
    assert summary["runs"][0]["failure"] == "the loss became nan in epoch 1, step 7"
    assert [path.stem for path in tmp_path.iterdir()] == [overrides.fingerprint(tiny(1))]


def test_bfloat16_is_reported(here, capsys):
    (hardware,) = [run_json(capsys, "train", *own(), "--set", "train.precision=bfloat16")["hardware"]]
    assert hardware["precision"] == "bfloat16"


def test_a_diverged_run_has_no_checkpoint(tmp_path, capsys):
    broken = ["--set", "train.learning_rate=1e9", "--set", "train.epochs=3"]
    command = ["train", *TINY, *broken, "--output", str(tmp_path)]
    assert main(command) == 1
    stderr = capsys.readouterr().err
    assert re.search(r"seed 0: .*\bnan in epoch \d, step \d+", stderr)
    assert "--set train.learning_rate=1e+08" in stderr
    assert not files(tmp_path)


def test_samples_of_one_expert_are_those_of_its_column(run, tmp_path, monkeypatch):
    def unread(*arguments):
        raise AssertionError("drawing needs no data")

    monkeypatch.setattr(sources, "read_images", unread)
    monkeypatch.setattr(sources, "read_labels", unread)
    whole, single = tmp_path / "all.png", tmp_path / "one.png"
    assert main(["sample", str(run), "--count", "4", "--scale", "2", "--output", str(whole)]) == 0
    first = whole.read_bytes()
    assert main(["sample", str(run), "--count", "4", "--scale", "2", "--output", str(whole)]) == 0
    assert whole.read_bytes() == first
    options = ["--expert", "2", "--count", "4", "--scale", "2", "--output", str(single)]
    assert main(["sample", str(run), *options]) == 0
    step = 2 * 8 + 4  # an image of 8 x 8, and the gap
    with Image.open(whole) as drawn, Image.open(single) as square:
        assert drawn.size == (3 * step - 4, 4 * step - 4)
        assert square.size == (2 * step - 4, 2 * step - 4)
        column, tiles = np.asarray(drawn)[:, 2 * step :], np.asarray(square)
    for index in range(4):
        row, place = divmod(index, 2)
        found = tiles[row * step :][:16, place * step :][:, :16]
        np.testing.assert_array_equal(found, column[index * step :][:16])
    assert main(["sample", str(run), "--seed", "5", "--count", "4", "--output", str(whole)]) == 0
    assert whole.read_bytes() != first


def test_info_counts_parameters_and_states_what_is_there(run, tmp_path, capsys):
    about = run_json(capsys, "info", str(run))
    latent = tiny().model.latent_dim
    gate = 64 * 16 + 16 + 16 * 3 + 3
    expert = (64 * 16 + 16 + 16 * 2 * latent + 2 * latent) + (latent * 16 + 16 + 16 * 64 + 64)
    assert about["parameters"] == {"gate": gate, "experts": 3 * expert, "all": gate + 3 * expert}
    assert overrides.from_dict(about["config"]) == tiny()
    here = run_json(capsys, "info", "--data-root", str(tmp_path))
    assert here["data"]["mnist"].startswith("not available")
    assert here["presets"].keys() == presets.PRESETS.keys()
    assert not files(tmp_path)
    assert main(["info"]) == 0
    assert main(["info", str(run)]) == 0
    assert f"fingerprint  {overrides.fingerprint(tiny())}, seed 0" in capsys.readouterr().out


def test_a_truncated_checkpoint_is_overwritten_only_with_force(kept, run, tmp_path, capsys):
    torn = tmp_path / run.name
    torn.write_bytes(run.read_bytes()[:-100])
    command = ["train", *TINY, "--output", str(tmp_path)]
    assert "--force" in refused(command, capsys)
    assert main([*command, "--force"]) == 0
    assert weights(torn) == weights(run)


def test_an_official_test_set_may_be_binarized_by_another_seed(here, capsys):
    images = np.random.default_rng(0).random((60, 6, 5))
    command = own(images=images, test_images=images[:20], labels=None)
    (entry,) = run_json(capsys, "train", *command)["runs"]
    again = run_json(capsys, "evaluate", entry["checkpoint"], "--set", "data.split_seed=1")
    assert again["runs"][0]["metrics"]["mixture_elbo"] < 0


def test_a_checkpoint_under_the_name_of_another_run_is_not_reused(kept, run, tmp_path, capsys):
    shutil.copytree(kept, tmp_path / "runs")
    other = f"{overrides.fingerprint(tiny(1))}.safetensors"
    shutil.copy(run, tmp_path / "runs" / other)
    command = ["train", *TINY, "--seeds", "2", "--output", str(tmp_path / "runs")]
    assert "contains another run" in refused(command, capsys)
    assert (tmp_path / "runs" / other).read_bytes() == run.read_bytes()
    assert main([*command, "--force"]) == 0
    assert weights(tmp_path / "runs" / other) == weights(kept / other)


def test_an_interrupt_is_one_line_with_exit_code_130(tmp_path):
    command = [sys.executable, "-m", "moevae", "train", "--set", "train.epochs=100000", "--output", "runs"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stderr.readline() for _ in range(3)]
        assert "epoch 1/100,000" in lines[2]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "interrupted: nothing was written"
    assert "Traceback" not in err
    assert not files(tmp_path)


def test_a_closed_pipe_gives_no_traceback(tmp_path):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        command = [sys.executable, "-m", "moevae", "train", "--dry-run"]
        done = subprocess.run(command, cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not (REAL / "MNIST" / "raw").is_dir(), reason="MOEVAE_DATA holds no MNIST")
@pytest.mark.parametrize("name", ["mnist", pytest.param("fashion-mnist", marks=pytest.mark.slow)])
def test_real_images_are_trained_on_and_drawn(name, tmp_path, capsys):
    small = ["--set", "data.train_size=500", "--set", "train.batch_size=100", "--set", "train.epochs=2"]
    summary = run_json(capsys, "train", "--data", name, *TINY, *small, "--output", str(tmp_path))
    scores = summary["runs"][0]["scores"]["test"]["metrics"]
    assert -784 * np.log(2) < scores["mixture_elbo"] < 0
    assert 0 < scores["acc"] <= 1
    checkpoint_path = summary["runs"][0]["checkpoint"]
    assert main(["sample", checkpoint_path, "--expert", "1", "--count", "9"]) == 0
    with Image.open(io.BytesIO(Path(checkpoint_path[:-12] + "-expert-1.png").read_bytes())) as picture:
        assert picture.size == (3 * 56 + 2 * 4, 3 * 56 + 2 * 4)


def test_a_run_continues_next_to_the_first_and_on_the_same_data_only(kept, run, here, capsys):
    command = ["train", "--from", str(run), "--epochs", "2", "--output", "more"]
    (more,) = run_json(capsys, *command)["runs"]
    assert (more["status"], more["config"]["train"]["epochs"], more["seed"]) == ("trained", 2, 0)
    begun = checkpoint.load(run)
    images = load_images(begun.config.data)
    library = fit([checkpoint.load(Path(more["checkpoint"])).config], images, start=begun.model)
    assert overrides.fingerprint(library.configs[0]) == more["fingerprint"]
    for name, value in library.model.state_dict().items():
        assert weights(Path(more["checkpoint"]))[name] == value.numpy().tobytes()
    assert run_json(capsys, *command)["runs"][0]["status"] == "existing"
    assert (
        run_json(capsys, "evaluate", more["checkpoint"])["runs"][0]["metrics"]
        == more["scores"]["test"]["metrics"]
    )
    digits = np.round(load_digits().images[::-1] * 255 / 16).astype(np.uint8)
    np.savez("own.npz", images=digits)
    line = refused([*command, "--data", "npz:own.npz"], capsys)
    assert "npz:own.npz differs from the images that this run was trained on" in line


def test_samples_as_an_array_are_those_of_the_picture(run, tmp_path):
    names = [str(tmp_path / name) for name in ("all.npz", "one.npz", "all.png")]
    assert main(["sample", str(run), "--count", "5", "--output", names[0]]) == 0
    assert main(["sample", str(run), "--count", "5", "--output", names[1], "--expert", "2"]) == 0
    assert main(["sample", str(run), "--count", "5", "--output", names[2], "--scale", "1"]) == 0
    whole, one = np.load(names[0]), np.load(names[1])
    assert (whole["images"].shape, whole["experts"].tolist()) == ((3, 5, 8, 8), [0, 1, 2])
    assert one["experts"].tolist() == [2]
    np.testing.assert_array_equal(one["images"][0], whole["images"][2])
    picture = np.asarray(Image.open(names[2]).convert("L"))
    for expert, images in enumerate(whole["images"]):
        for row, image in enumerate(images):
            shown = picture[12 * row : 12 * row + 8, 12 * expert : 12 * expert + 8]
            np.testing.assert_allclose(shown, np.round(image * 255), atol=1)
