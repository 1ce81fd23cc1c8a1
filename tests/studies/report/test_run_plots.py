"""Pictures of records: columns in another order, and files that are not what a record describes."""

import io

import numpy as np
import pytest
from PIL import Image

from moevae.visualization import maps
from studies.records.schema import Picture
from studies.report import run_plots


def saved(folder, pixels, rows, columns, tile, **more):
    (folder / "records").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "records" / "a.png")
    return Picture(file="a.png", sha256="", rows=rows, columns=columns, tile=tile, **more)


@pytest.fixture
def shown(monkeypatch):
    """What is drawn: pixels, rows, columns and names."""
    calls = []

    def labeled(content, rows, columns, names):
        calls.append((np.asarray(Image.open(io.BytesIO(content))), rows, columns, names))
        return b"drawn"

    monkeypatch.setattr(run_plots, "labeled", labeled)
    return calls


def test_columns_are_drawn_in_the_given_order(tmp_path, shown):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 9), dtype=np.uint8)
    picture = saved(tmp_path, pixels, ["1", "2"], ["0", "1", "2"], (2, 3))
    assert run_plots.grid(tmp_path, picture, ("epoch", "expert"), [2, 0, 1])
    np.testing.assert_array_equal(shown[0][0], np.hstack([pixels[:, 6:], pixels[:, :3], pixels[:, 3:6]]))
    assert shown[0][2] == ["2", "0", "1"]
    assert run_plots.grid(tmp_path, picture, ("epoch", "expert"), [0, 0, 1])  # not an order: ignored
    np.testing.assert_array_equal(shown[1][0], pixels)


def test_columns_that_experts_drew_name_them(tmp_path, shown):
    pixels = np.zeros((2, 4), dtype=np.uint8)
    picture = saved(tmp_path, pixels, ["image"], ["0", "1"], (2, 2), experts=[7, 7])
    run_plots.grid(tmp_path, picture, ("", "test image"))
    assert shown[0][2:] == (["7", "7"], ("", "expert"))
    wrong = picture.model_copy(update={"experts": [7]})
    assert run_plots.grid(tmp_path, wrong, ("", "test image")) is None


def test_a_map_is_drawn_from_its_table(tmp_path, monkeypatch):
    drawn, titles = [], []

    def draw(places, panels, title):
        drawn.append((places, panels))
        titles.append(title)
        return b"drawn"

    monkeypatch.setattr(maps, "draw", draw)
    random = np.random.default_rng(0)
    places, experts, labels = random.normal(size=(6, 2)), np.arange(6) % 3, np.arange(6) % 2
    table = maps.as_table(places, [experts, labels])
    picture = saved(tmp_path, table, ["x", "y", "expert", "class"], ["images"], (1, 6))
    assert run_plots.latent_map(tmp_path, picture, 3, ["a", "b"]) == b"drawn"
    found, panels = drawn[0]
    assert np.corrcoef(found[:, 0], places[:, 0])[0, 1] > 0.999
    assert [(name, group.tolist(), names) for name, group, names in panels] == [
        ("expert", experts.tolist(), ["0", "1", "2"]),
        ("class", labels.tolist(), ["a", "b"]),
    ]
    drawn.clear()
    for method, name in ((None, "PCA"), ("pca", "PCA"), ("umap", "UMAP")):  # older records have none
        run_plots.latent_map(tmp_path, picture.model_copy(update={"method": method}), 3, ["a", "b"])
        assert titles.pop().endswith(f"({name})")
    assert run_plots.latent_map(tmp_path, picture, 2, []) is None  # groups without names
    for change in ({"rows": ["a", "b", "c", "d"]}, {"tile": (1, 5)}, {"rows": ["x", "y", "expert"]}):
        assert run_plots.latent_map(tmp_path, picture.model_copy(update=change), 3, ["a", "b"]) is None
