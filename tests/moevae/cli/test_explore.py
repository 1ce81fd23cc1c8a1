"""`python -m moevae explore`: which pictures there are, that a seed fixes them, and that no label is read."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from moevae.__main__ import main
from moevae.cli import explore
from moevae.config import presets
from moevae.data.datasets import load_images, load_labels
from moevae.visualization import maps, style

TINY = [
    *("--set", "train.epochs=1", "--set", "data.train_size=200", "--set", "model.latent_dim=2"),
    *("--set", "model.num_experts=2", "--set", "model.expert_hidden=[8]", "--set", "model.gate_hidden=[8]"),
]


ALWAYS = ("reconstructions.png", "competition.png", "experts.png", "confusion.png", "map.png", "arrays.npz")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    """A checkpoint of two experts on digits."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", *TINY, "--output", str(folder)]) == 0
    (path,) = folder.iterdir()
    return str(path)


@pytest.fixture
def unlabeled(monkeypatch) -> None:
    """Pictures are the images alone: words take most of the time."""
    monkeypatch.setattr(style, "labeled", lambda content, *words: SimpleNamespace(png=content))


def explored(run: str, folder: Path, *options: str) -> dict[str, bytes]:
    assert main(["explore", run, "--output", str(folder), *options]) == 0
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_the_same_seed_gives_the_same_files_and_another_others(run, tmp_path, unlabeled, capsys):
    first = explored(run, tmp_path / "first")
    walks = {"traversals-expert-0.png", "traversals-expert-1.png"}
    assert first.keys() == {"neighbors.png", "interpolations.png", *ALWAYS} | walks
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == first.keys()
    assert explored(run, tmp_path / "again") == first
    other = explored(run, tmp_path / "other", "--seed", "7")
    assert {name for name in first if other[name] == first[name]} == {
        "reconstructions.png",
        "competition.png",
        "experts.png",
        "confusion.png",
        "map.png",
        *walks,
    }  # they have no chance in them


def test_one_expert_gets_pictures_of_its_own(run, tmp_path, unlabeled):
    whole, one = explored(run, tmp_path / "whole"), explored(run, tmp_path / "one", "--expert", "1")
    assert one.keys() == {"neighbors.png", "interpolations.png", "traversals-expert-1.png", *ALWAYS}
    assert one["traversals-expert-1.png"] == whole["traversals-expert-1.png"]
    for name, height in (("neighbors.png", 16), ("interpolations.png", 8)):  # images of 8 x 8 pixels
        assert np.array_equal(decoded(one[name]), decoded(whole[name])[height:])


def test_text_is_outside_of_the_images(run, tmp_path):
    found = decoded(explored(run, tmp_path, "--expert", "0")["traversals-expert-0.png"])
    assert found.shape[0] > 2 * 16
    assert (found == 255).mean() > 0.2  # white behind the words


def test_an_expert_without_images_has_no_interpolation_and_is_reported(
    tmp_path, unlabeled, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    np.savez("one.npz", images=np.zeros((30, 4, 4)))  # identical images: one expert gets all
    assert main(["train", "--data", "npz:one.npz", *TINY, "--set", "data.train_size=null"]) == 0
    (path,) = Path("runs").glob("*.safetensors")
    capsys.readouterr()
    found = explored(str(path), tmp_path / "pictures")
    assert "interpolations.png" in found
    assert sum("no interpolation" in line for line in capsys.readouterr().out.splitlines()) == 1


def test_a_mistake_is_reported_and_nothing_written(run, tmp_path, capsys):
    for options, message in (
        (["--expert", "2"], "--expert 2: "),
        (["--seed", "-1"], "--seed -1: "),
        (["--count", "21"], "--count 21: "),
    ):
        assert main(["explore", run, "--output", str(tmp_path / "none"), *options]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_arrays_hold_what_the_pictures_show(run, tmp_path, unlabeled):
    pictures = explored(run, tmp_path, "--count", "7")
    arrays = np.load(tmp_path / "arrays.npz")
    tests = load_images(presets.preset("digits").data).test
    shapes = {name: value.shape for name, value in arrays.items()}
    assert shapes["samples"] == (2, 7, 8, 8)
    assert shapes["traversals"] == (2, 2, 13, 8, 8)
    assert shapes["map"] == (len(tests), 2)
    assert shapes["assignments"] == (len(tests),)
    rebuilt = np.round(arrays["reconstructions"] * 255)
    shown = decoded(pictures["reconstructions.png"])[8:].reshape(8, 7, 8).transpose(1, 0, 2)
    np.testing.assert_allclose(shown, rebuilt, atol=1)


def test_a_class_colors_the_map_only_where_there_are_labels(run, tmp_path, monkeypatch):
    panels = []
    monkeypatch.setattr(
        maps, "draw", lambda places, groups, title: panels.append(groups) or SimpleNamespace(png=b"")
    )
    explored(run, tmp_path / "with")
    monkeypatch.setattr(explore, "load_labels", lambda *arguments: None)
    explored(run, tmp_path / "without")
    assert [[name for name, _, _ in each] for each in panels] == [["expert", "class"], ["expert"]]
    labels = load_labels(presets.preset("digits").data)
    np.testing.assert_array_equal(panels[0][1][1], labels.test)


def test_umap_is_refused_where_it_is_not_installed(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    assert main(["explore", run, "--output", str(tmp_path / "none"), "--map", "umap"]) == 2
    assert "umap-learn" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_every_expert_draws_each_image_and_its_error_is_reported(run, tmp_path, unlabeled):
    arrays = np.load(io.BytesIO(explored(run, tmp_path)["arrays.npz"]))
    drawn, errors = arrays["drawn_by_every_expert"], arrays["errors_of_every_expert"]
    assert drawn.shape == (len(errors), 2, 8, 8)
    images = (
        decoded((tmp_path / "competition.png").read_bytes()).reshape(-1, 8, 3, 8)[:, :, 0] / 255
    )  # [B, H, W]
    expected = ((drawn - images[:, None]) ** 2).sum((2, 3))
    np.testing.assert_allclose(errors, expected, rtol=0.02, atol=0.1)
    for row, expert in enumerate(arrays["assignments"][: len(errors)]):
        np.testing.assert_allclose(arrays["reconstructions"][row], drawn[row, expert], atol=1e-5)
