"""`python -m moevae`: a mistake is one line with exit code 2, and nothing is written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, files, own
from refusals import refused

from moevae.__main__ import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of three experts on digits."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", *TINY, "--output", str(folder)]) == 0
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("trian", "did you mean train?"),
        ("train --sed 3", "did you mean --seed?"),
        ("train --batch-size 3", "unknown option --batch-size: write --set train.batch_size=3"),
        ("train --batch-size=3", "unknown option --batch-size: write --set train.batch_size=3"),
        ("evaluate RUN --num-samples 50", "--num-samples: write --set evaluation.num_samples=50"),
        ("evaluate RUN --epochs 50", "--epochs: moevae evaluate --help lists the options"),
        ("train extra", "'extra': unexpected argument"),
        ("train --data ./absent", "./absent: no data set, and no folder of this name"),
        ("train --data own.npz", "did you mean npz:own.npz?"),
        ("train --data npz:", "npz: names no file"),
        ("train --data npz:a-file", "npz:a-file: not a complete npz file; expected np.savez"),
        ("train --data mnits", "unknown data set 'mnits': did you mean mnist?"),
        ("train --preset dgits", "unknown preset 'dgits': did you mean digits?"),
        ("train --set train.epoch=3", "unknown key 'train.epoch': did you mean train.epochs?"),
        ("train --set objective=elbow", "did you mean elbo?"),
        ("train --set train.epochs", "expected KEY=VALUE"),
        ("train --set seed=3", "use seeds"),
        ("train --set routing.temperature=0", "routing.temperature = 0: input should be greater than 0"),
        ("train --set routing.temperature=-1", "routing.temperature = -1"),
        ("train --set model.num_experts=0", "model.num_experts = 0"),
        ("train --set objective.balance_weight=nan", "should be a finite number"),
        ("train --set objective.information_weight=Infinity", "should be a finite number"),
        ("train --set data.train_size=100000", "digits has 1295 training images"),
        ("train --seeds ,", "--seeds ',': expected a count"),
        ("train --seeds 0", "--seeds '0': expected a count"),
        ("train --seeds 1,1", "seed 1 is given twice"),
        ("train --seed -1", "seed -1 is not in"),
        ("train --seed x", "--seed 'x': expected an integer"),
        ("train --seed 1 --seeds 2", "expected only one of them"),
        ("train --data npz:absent.npz", "file not found"),
        ("train --device tpu", "invalid choice 'tpu'"),
        ("train --output a-file", "a-file is a file"),
        ("evaluate", "no CHECKPOINT"),
        ("evaluate absent.safetensors", "absent.safetensors: checkpoint not found"),
        ("evaluate a-file", "a-file: not a complete safetensors file"),
        ("evaluate RUN --set model.num_experts=4", "fixed in a trained run"),
        ("evaluate RUN --set evaluation.num_samples=0", "evaluation.num_samples = 0"),
        ("evaluate RUN --set data.train_size=9 --set data.name=npz:own.npz", "8 x 8 pixels, and npz:own.npz"),
        ("evaluate RUN --set data.validation_size=0 --split validation", "validation split is empty"),
        ("evaluate RUN --set data.split_seed=1", "may be among its training images"),
        ("evaluate RUN --set data.validation_size=9 --split validation", "may be among its training images"),
        ("train --data ~no-such-user/x", "the home folder is unknown"),
        ("train --data folder:~no-such-user/x", "the home folder is unknown"),
        ("evaluate RUN --memory much", "--memory 'much': expected a size, such as 2GiB"),
        ("evaluate RUN --memory 1kB", "1,000 bytes of memory are not enough"),
        ("train --data folder:", "folder: names no file"),
        ("train --data folder:absent", "folder:absent: expected a folder"),
        ("train --data a-folder", "folder:a-folder: no images"),
        ("train --data a-folder --on-bad-image ignore", "invalid choice 'ignore'"),
        ("train --set data.image_size=0", "data.image_size"),
        ("train --epochs 0", "--epochs: train.epochs = 0"),
        ("train --from RUN", "--from needs --epochs"),
        ("train --from RUN --epochs 0", "0 more epochs"),
        ("train --from RUN --epochs 2 --preset digits", "has its own settings"),
        ("train --from RUN --epochs 2 --set model.num_experts=4", "model.num_experts = 3, not 4"),
        (
            "train --from RUN --epochs 2 --data npz:own.npz --set data.train_size=9",
            "of 8 x 8 pixels, and these have 6 x 5",
        ),
        ("train --from absent --epochs 2", "absent: checkpoint not found"),
        ("train --set train.start=0123456789abcdef", "expected the run with these weights (--from"),
        ("train --set train.start=x", "train.start = 'x'"),
        ("assign RUN", "assign needs IMAGES"),
        ("assign RUN absent", "absent: not found; expected a folder"),
        ("assign RUN a-file", "a-file: expected a folder of images"),
        ("assign RUN a-folder", "folder:a-folder: no images"),
        ("assign RUN own.npz --copy-to sorted", "own.npz has no image files"),
        ("assign a-file own.npz", "a-file: not a complete safetensors file"),
        ("sample RUN --expert 3", "--expert 3: expected 0 to 2"),
        ("sample RUN --expert -1", "--expert -1: expected 0 to 2"),
        ("sample RUN --count 0", "--count 0"),
        ("sample RUN --scale 99", "--scale 99"),
        ("sample RUN --output picture.jpg", "ends in .png"),
        ("sample RUN --output a-file/picture.png", "a-file is a file"),
        ("train --preset absent.toml", "preset absent.toml"),
        ("info --write-preset mine.toml", "expected a CHECKPOINT"),
        ("info RUN --write-preset a-file", "ends in .toml"),
        ("info absent", "absent: checkpoint not found"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_nothing_written(command, message, run, here, capsys):
    own()
    Path("a-file").write_text("x")
    Path("a-folder").mkdir()
    before = files(Path())
    assert message in refused([str(run) if word == "RUN" else word for word in command.split()], capsys)
    assert files(Path()) == before
    assert {path.name for path in Path().iterdir()} == {"own.npz", "a-file", "a-folder"}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "expected an array named images"),
        (np.zeros((9, 2, 2, 2), np.uint8), "have 4 axes"),
        (np.full((9, 4, 4), np.nan), "contain NaN"),
        (np.full((9, 4, 4), 2.0), "expected uint8 of 0..255, float in [0, 1]"),
        (np.zeros((2, 4, 4)), "2 images cannot be split"),
    ],
)
def test_images_of_the_wrong_form_are_refused(images, message, here, capsys):
    assert message in refused(["train", *own(images=images)], capsys)
    assert [path.name for path in Path().iterdir()] == ["own.npz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x1f\x8b torn", "truncated or modified"), (b"<html>", "an HTML page"), (b"PK", "not a gzip file")],
)
def test_a_broken_file_of_mnist_is_named(content, message, tmp_path, capsys):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte.gz").write_bytes(content)
    before = files(tmp_path)
    line = refused(["train", "--data", "mnist", "--data-root", str(tmp_path)], capsys)
    assert message in line
    assert "train-images-idx3-ubyte.gz" in line
    assert files(tmp_path) == before


def test_an_error_in_a_separate_process_is_the_same_line(here):
    command = [sys.executable, "-m", "moevae", "train", *own(images=np.full((9, 4, 4), np.nan))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: npz:own.npz: images of shape [9, 4, 4] contain NaN; "
        "expected uint8 of 0..255, float in [0, 1], or other numbers with a value_range\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [["info"], ["train", "--help"]])
def test_output_on_a_full_disk_is_one_line(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "moevae", *command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output: No space left on device\n"
