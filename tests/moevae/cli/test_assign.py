"""`moevae assign`: a table whose rows depend on their images alone, copies, and nothing overwritten."""

import csv
import io
import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from commands import TINY, files
from PIL import Image
from refusals import refused
from sklearn.datasets import load_digits

from moevae.__main__ import main
from moevae.evaluation.assign import UNUSUAL_SHARE
from moevae.training import checkpoint

COUNT = 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of three experts on digits."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", *TINY, "--output", str(folder)]) == 0
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def digits():
    return np.round(load_digits().images[:COUNT] * (255 / 16)).astype(np.uint8)


@pytest.fixture
def scans(tmp_path, digits):
    """Digits as image files, half of them in a subfolder, with names that repeat."""
    for number, image in enumerate(digits):
        place = tmp_path / "scans" / ("more" if number % 2 else "") / f"{number // 2:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return tmp_path / "scans"


@pytest.fixture
def asked(run, capsys):
    """Assign, and return standard output."""

    def ask(*words):
        capsys.readouterr()
        assert main(["assign", str(run), *map(str, words)]) == 0
        return capsys.readouterr().out

    return ask


def rows(text):
    return {row["file"]: row for row in csv.DictReader(io.StringIO(text))}


def test_a_row_depends_on_its_image_alone(asked, scans, digits, tmp_path):
    table = rows(asked(scans, "--latents"))
    assert len(table) == COUNT
    np.save(tmp_path / "digits.npy", digits[::-1])
    np.savez(tmp_path / "digits.npz", images=digits.reshape(COUNT, -1))
    reverse, flat = (
        rows(asked(tmp_path / "digits.npy", "--latents")),
        rows(asked(tmp_path / "digits.npz", "--latents")),
    )
    for number in range(0, COUNT, 7):
        name = f"{'more/' if number % 2 else ''}{number // 2:02}.png"
        alone = rows(asked(scans / name, "--latents"))
        values = [
            {key: value for key, value in row.items() if key != "file"}
            for row in (
                table[name],
                reverse[str(COUNT - 1 - number)],
                flat[str(number)],
                *alone.values(),
            )
        ]
        assert all(value == values[0] for value in values)


def test_all_kinds_of_output_hold_the_same_answers(asked, scans, tmp_path):
    table = rows(asked(scans))
    output = json.loads(asked(scans, "--json", "--latents", "--output", tmp_path / "table.npz"))
    asked(scans, "--output", tmp_path / "new" / "table.csv")
    arrays = np.load(tmp_path / "table.npz")
    assert rows((tmp_path / "new" / "table.csv").read_text()) == table
    assert [row["file"] for row in output["images"]] == arrays["files"].tolist() == list(table)
    assert [row["expert"] for row in output["images"]] == arrays["expert"].tolist()
    assert [int(row["expert"]) for row in table.values()] == arrays["expert"].tolist()
    assert np.bincount(arrays["expert"], minlength=3).tolist() == output["load"]
    np.testing.assert_array_equal([row["bound"] for row in output["images"]], arrays["bound"])
    np.testing.assert_array_equal([row["latents"] for row in output["images"]], arrays["latents"].tolist())
    np.testing.assert_array_equal(arrays["gate_probs"].argmax(1), arrays["expert"])
    np.testing.assert_array_equal(arrays["gate_probs"].max(1), arrays["probability"])
    ranked = np.sort(arrays["gate_probs"], axis=1)
    np.testing.assert_array_equal(ranked[:, -2], arrays["runner_up_probability"])
    assert (arrays["runner_up"] != arrays["expert"]).all()


def test_parquet_is_written_or_refused_in_one_line(asked, run, scans, tmp_path, capsys, monkeypatch):
    target = tmp_path / "table.parquet"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pyarrow" in refused(["assign", *map(str, (run, scans, "--output", target))], capsys)
    monkeypatch.undo()
    pytest.importorskip("pyarrow")
    import pandas as pd

    asked(scans, "--output", target)
    assert pd.read_parquet(target)["expert"].tolist() == [
        int(row["expert"]) for row in rows(asked(scans)).values()
    ]


def test_copies_are_sorted_by_expert_and_none_is_lost(asked, scans, tmp_path):
    before = files(scans)
    table = rows(asked(scans))
    asked(scans, "--copy-to", tmp_path / "sorted")
    assert files(scans) == before
    found = {}
    for path in (tmp_path / "sorted").rglob("*.png"):
        found.setdefault(path.read_bytes(), []).append(path.parent.name)
    expected = {}
    for name, row in table.items():
        expected.setdefault((scans / name).read_bytes(), []).append(f"expert-{row['expert']}")
    assert found == expected
    assert not list(tmp_path.glob(".*"))


def test_an_unusual_image_is_marked_and_few_others_are(asked, run, scans, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    noisy = [row["unusual"] == "True" for row in rows(asked(tmp_path / "noise.npy")).values()]
    assert np.mean(noisy) >= 0.9
    np.save(tmp_path / "digits.npy", (load_digits().images * (255 / 16)).astype(np.uint8))
    marked = [row["unusual"] == "True" for row in rows(asked(tmp_path / "digits.npy")).values()]
    assert np.mean(marked) < 4 * UNUSUAL_SHARE
    trained, table = checkpoint.load(run), rows(asked(scans))
    for row in table.values():
        assert (row["unusual"] == "True") == (float(row["bound"]) < trained.unusual_below)


@pytest.mark.parametrize(
    ("changes", "usual", "warned"),
    [({}, "validation images", False), ({"usual_images": "training"}, "training images", True)],
)
def test_a_note_says_which_images_are_usual(run, tmp_path, capsys, changes, usual, warned):
    trained = replace(checkpoint.load(run), unusual_below=0.0, **changes)
    checkpoint.save(tmp_path / "run.safetensors", trained)
    np.save(tmp_path / "noise.npy", np.arange(128, dtype=np.uint8).reshape(2, 8, 8) * 2)
    assert main(["assign", str(tmp_path / "run.safetensors"), str(tmp_path / "noise.npy")]) == 0
    notes = capsys.readouterr().err
    assert f"own {usual}" in notes
    assert ("few images were held out" in notes) == warned


def test_images_of_other_sizes_are_resized(asked, tmp_path, digits):
    (tmp_path / "large").mkdir()
    for number in range(4):
        large = np.pad(np.kron(digits[number], np.ones((16, 16), np.uint8)), ((0, 0), (64, 64)))
        Image.fromarray(large).save(tmp_path / "large" / f"{number}.png")
    table = rows(asked(tmp_path / "large"))
    np.save(tmp_path / "digits.npy", digits[:4])
    small = rows(asked(tmp_path / "digits.npy"))
    for number in range(4):
        bounds = float(table[f"{number}.png"]["bound"]), float(small[str(number)]["bound"])
        assert bounds[0] == pytest.approx(bounds[1], abs=5)


def test_bad_images_are_refused_or_named_and_counted(asked, run, scans, tmp_path, capsys):
    (scans / "broken.png").write_bytes(b"x")
    output = tmp_path / "table.csv"
    assert "broken.png" in refused(["assign", *map(str, (run, scans, "--output", output))], capsys)
    assert not output.exists()
    printed = json.loads(asked(scans, "--json", "--on-bad-image", "skip"))
    assert [each["file"] for each in printed["skipped"]] == ["broken.png"]
    assert len(printed["images"]) == COUNT


@pytest.mark.parametrize("empty", [False, True])
def test_a_table_may_be_inside_the_folder_of_the_copies(asked, scans, tmp_path, empty):
    place = tmp_path / "sorted"
    if empty:
        place.mkdir()
    asked(scans, "--output", place / "table.csv", "--copy-to", place)
    assert len(rows((place / "table.csv").read_text())) == COUNT
    assert len(list(place.rglob("*.png"))) == COUNT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans", "sorted"]


def test_the_working_folder_gets_the_copies(asked, scans, tmp_path, monkeypatch):
    (tmp_path / "sorted").mkdir()
    monkeypatch.chdir(tmp_path / "sorted")
    asked(scans, "--copy-to", ".")
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == COUNT


def test_a_run_on_flat_rows_refuses_image_files(scans, tmp_path, capsys):
    np.savez(tmp_path / "rows.npz", images=np.random.default_rng(0).random((300, 15), dtype=np.float32))
    command = ["train", *TINY, "--data", f"npz:{tmp_path / 'rows.npz'}", "--output", str(tmp_path / "runs")]
    assert main(command) == 0
    (trained,) = (tmp_path / "runs").iterdir()
    for given in (scans, scans / "00.png"):
        assert "[N, 15]" in refused(["assign", str(trained), str(given)], capsys)


def test_nothing_is_overwritten(run, scans, tmp_path, capsys):
    (tmp_path / "table.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to("nowhere")
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted" / "mine").write_text("mine")
    before = files(tmp_path)
    for option, name, message in (
        ("--output", "table.csv", "already exists"),
        ("--output", "link.csv", "already exists"),
        ("--output", "table.xlsx", "ends in .csv"),
        ("--output", "table.csv/table.csv", "is a file"),
        ("--copy-to", "sorted", "already exists"),
        ("--copy-to", "table.csv", "already exists"),
        ("--copy-to", "scans/sorted", "is inside"),
    ):
        assert message in refused(["assign", *map(str, (run, scans, option, tmp_path / name))], capsys)
    assert files(tmp_path) == before


def test_copies_that_fail_leave_nothing(run, scans, tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    command = ["assign", str(run), str(scans), "--copy-to", str(tmp_path / "sorted")]
    assert "No space left" in refused(command, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans"]


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8")
def test_any_file_name_is_reported(asked, tmp_path, digits):
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [
        b"=1+1.png",
        b"a,b.png",
        b'quote".png',
        b"line\nbreak.png",
        b"not-\xff-utf8.png",
        "ü.png".encode(),
    ]
    for name in names:
        Image.fromarray(digits[0]).save(folder / "x.png")
        os.rename(folder / "x.png", os.path.join(os.fsencode(folder), name))  # noqa: PTH104, PTH118
    asked(folder, "--output", tmp_path / "t.npz", "--copy-to", tmp_path / "copies")
    assert len(np.load(tmp_path / "t.npz")["files"]) == len(names)
    assert len(list((tmp_path / "copies").rglob("*.png"))) == len(names)
    table = rows(asked(folder))
    assert {"=1+1.png", "a,b.png", 'quote".png', "line\nbreak.png", r"not-\udcff-utf8.png", "ü.png"} == set(
        table
    )
