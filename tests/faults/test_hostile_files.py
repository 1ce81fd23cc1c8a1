"""Files made to break their reader: one line and exit code 2, within limits of time and memory."""

import re
import urllib.request
from dataclasses import replace

import hostile
import hostile_arrays
import hostile_images
import hostile_models
import numpy as np
import pytest
from limits import FILES, OUTCOME, SIZED, bounded, count, each
from PIL import Image

from moevae import __main__ as core
from moevae.config import overrides
from moevae.config import schema as configs
from moevae.data import inputs
from moevae.data.datasets import load_images
from moevae.errors import RecordError
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.training.population import Population
from studies import __main__ as cli
from studies.report import literature
from studies.utils import toml_files

torch = pytest.importorskip("torch")


@SIZED
def test_npz_files(most, tmp_path, refused, reliability):
    path = tmp_path / "own.npz"
    command = ["train", "--data", f"npz:{path}", "--set", "train.epochs=1", "--output", tmp_path / "runs"]
    cases = each(hostile_arrays.npzs(), path, most)
    number = count(cases, lambda name: str(path) in refused(core.main, *command) or pytest.fail("unnamed"))
    assert not (tmp_path / "runs").exists()
    reliability(FILES, f"{number} npz files, given to `train`", OUTCOME, sized=True)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run of digits, 8 x 8 pixels, that is not trained."""
    path = tmp_path_factory.mktemp("small") / "run.safetensors"
    config = overrides.override(configs.RunConfig(), {"model.num_experts": 2, "train.epochs": 1})
    images = load_images(config.data)
    untrained = Population([config], images, torch.device("cpu")).result()
    checkpoint.save(path, Trained.of(untrained, 0, images))
    return path


@SIZED
def test_npy_files(most, tmp_path, refused, reliability, small_run):
    path = tmp_path / "own.npy"
    command = ["assign", small_run, path, "--output", tmp_path / "table.csv"]
    cases = each(hostile_arrays.npys(), path, most)
    number = count(cases, lambda name: str(path) in refused(core.main, *command) or pytest.fail("unnamed"))
    assert not (tmp_path / "table.csv").exists()
    reliability(FILES, f"{number} npy files, given to `assign`", OUTCOME, sized=True)


@SIZED
def test_image_files(most, tmp_path, refused, reliability, small_run):
    """One bad image among good ones: refused by `train` and by `assign`, and named; or skipped."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(folder / f"good-{number}.png")
    path = folder / "bad.png"
    train = ["train", "--data", folder, "--set", "train.epochs=1", "--output", tmp_path / "runs"]
    assign = ["assign", small_run, folder, "--output", tmp_path / "table.csv"]

    def check(name):
        for command in (train, assign):
            assert "bad.png" in refused(core.main, *command)
        with bounded():
            found = inputs.read(folder, (8, 8), "skip")
        assert found.names == tuple(f"good-{number}.png" for number in range(4))
        assert [file.partition("/")[0] for file, _ in found.bad] == ["bad.png"]

    number = count(each(hostile_images.pictures(), path, most), check)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "table.csv").exists()
    reliability(
        FILES, f"{number} image files in a folder, given to `train` and `assign`", OUTCOME, sized=True
    )


@SIZED
def test_idx_files(most, tmp_path, refused, reliability, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    number = 0
    files = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
    for file in files[: None if most > 10 else 1]:
        for other in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"):
            (folder / other).write_bytes(b"\x1f\x8b")
        command = ["train", "--data", "mnist", "--data-root", tmp_path, "--output", tmp_path / "runs"]
        cases = each(hostile.anywhere(b"\x1f\x8b\x08" + bytes(100), count=4), folder / file, most)
        number += count(cases, lambda name, command=command: refused(core.main, *command))
    with (folder / "train-images-idx3-ubyte").open("wb") as sparse:
        sparse.truncate(1 << 33)
    refused(core.main, *command)
    reliability(FILES, f"{number + 1} files of MNIST, given to `train`", OUTCOME, sized=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint."""
    changes = {
        "model.num_experts": 2,
        "model.expert_hidden": [4],
        "model.gate_hidden": [4],
        "train.epochs": 1,
    }
    config = overrides.override(configs.RunConfig(), changes)
    from moevae.data.datasets import load_images

    images = load_images(config.data)
    training = Population([config], images, torch.device("cpu"))
    path = tmp_path_factory.mktemp("run") / "run.safetensors"
    checkpoint.save(path, replace(Trained.of(training.result(), 0, images), unusual_below=-30.0))
    return path.read_bytes()


@SIZED
def test_checkpoints(most, tmp_path, refused, reliability, whole):
    path = tmp_path / "run.safetensors"
    words = ("info", "evaluate", "sample", "explore")
    turn = iter(words * 1000)
    cases = each(hostile_models.checkpoints(whole), path, most)
    number = count(cases, lambda name: refused(core.main, next(turn), path))
    assert not list(tmp_path.iterdir())
    reliability(FILES, f"{number} checkpoints, given to {', '.join(words)}", OUTCOME, sized=True)


@SIZED
def test_profiles(most, tmp_path, refused, reliability):
    path = tmp_path / "mine.toml"
    words = ["--results", tmp_path / "results"]
    turn = iter(
        ([["ablate", "--profile", path, *words], ["search", "--profile", path, "--dry-run", *words]]) * 500
    )
    cases = each(hostile.profiles(), path, most)
    number = count(cases, lambda name: refused(cli.main, *next(turn)))
    assert not (tmp_path / "results").exists()
    reliability(FILES, f"{number} profiles, given to `ablate` and `search`", OUTCOME, sized=True)


@SIZED
def test_published_numbers(most, tmp_path, reliability):
    path = tmp_path / "published.toml"

    def check(name):
        with bounded(), pytest.raises(RecordError) as caught:
            toml_files.read(path, literature.Published)
        assert "\n" not in str(caught.value)

    good = literature.PATH.read_bytes()
    extra = [
        ("a number", hostile.put(b"clustering = 1\nlikelihood = []")),
        ("an unknown key", hostile.put(b'colour = "red"\n' + good)),
        ("a list", hostile.put(b"clustering = [1]\nlikelihood = [[]]")),
        ("deep", hostile.put(b"a = " + b"[" * hostile.DEEP)),
    ]
    files = [case for case in hostile.anywhere(good) if not re.search("changed|torn", case[0])]
    number = count(each([*files, *extra], path, most), check)
    reliability(FILES, f"{number} files of published numbers", "each one line", sized=True)


@pytest.mark.parametrize(
    "value", ["[" * 50_000, '{"a":' * 50_000, "9" * 5000, "1e999", "\\ud800", '"\\ud800"']
)
def test_settings_are_parsed_from_text(value, refused, tmp_path):
    refused(core.main, "train", "--set", f"model.num_experts={value}", "--output", tmp_path / "runs")
    refused(cli.main, "ablate", "--set", f"train.epochs={value}", "--results", tmp_path / "results")
