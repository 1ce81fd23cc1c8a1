"""Maps: PCA is that of scikit-learn up to signs, and latents are those of all experts."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from small import config, images, mixture

from moevae.visualization import latent, maps


def test_the_projection_is_that_of_an_independent_pca():
    points = np.random.default_rng(0).normal(size=(50, 6)) @ np.diag([5, 3, 1, 1, 0.5, 0.1])
    found, expected = maps.project(points), PCA(2).fit_transform(points)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(maps.project(points + 7), found, atol=1e-8)


@pytest.mark.parametrize("shape", [(9, 1), (1, 5), (2, 2)])
def test_few_points_and_few_latents_have_a_map(shape):
    assert maps.project(np.random.default_rng(0).normal(size=shape)).shape == (shape[0], 2)


@pytest.mark.parametrize(("seed", "given"), [(7, 7), (2**32 + 3, 3), (2**63 - 1, 2**32 - 1)])
def test_umap_has_the_seed_of_the_map_and_no_more_neighbors_than_points(monkeypatch, seed, given):
    made = []

    class Reducer(SimpleNamespace):
        def fit_transform(self, points):
            made.append(self)
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Reducer))
    monkeypatch.setattr(maps, "find_spec", lambda name: name == "umap")
    for count in (3, 4, 9, 40):
        points = np.random.default_rng(0).normal(size=(count, 6))
        assert maps.project(points, "umap", seed).shape == (count, 2)
    assert [each.n_neighbors for each in made] == [3, 8, 15]  # PCA places three points
    assert {each.random_state for each in made} == {given}


@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
@pytest.mark.parametrize("count", [2, 3, 4, 5, 20, 60])
def test_umap_gives_the_same_map_again(count):
    points = np.random.default_rng(0).normal(size=(count, 6))
    found = maps.project(points, "umap", 3)
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(maps.project(points, "umap", 3), found)


def test_latents_of_all_experts_stand_side_by_side():
    run = config()
    model = mixture(run, seeds=(0, 1)).float()
    x = images().test[:9]
    found = latent.all_latents(model, x, chunk=4)
    mu, _ = model.experts.encode(x.expand(2, *x.shape))
    assert found.shape == (2, 9, run.model.num_experts * run.model.latent_dim)
    torch.testing.assert_close(found[1, 5], mu[1, :, 5].flatten())


@pytest.mark.parametrize("count", [1, 10, 20, 30])
def test_any_number_of_groups_is_drawn(count):
    random = np.random.default_rng(0)
    places, group = random.normal(size=(40, 2)), random.integers(0, count, 40)
    names = [f"class $ {index}" for index in range(count)]
    assert maps.draw(places, [("class", group, names)], "A map").png.startswith(b"\x89PNG")


def test_a_map_as_a_table_keeps_distances_up_to_its_levels():
    random = np.random.default_rng(1)
    places, groups = random.normal(size=(40, 2)) * [5, 1], random.integers(0, 300, 40)
    table = maps.as_table(places, [groups])
    assert table.shape == (3, 40)
    scale = np.ptp(places[:, 0]) / 255
    np.testing.assert_allclose(table[:2].T * scale, places - places.min(0), atol=scale / 2 + 1e-9)
    np.testing.assert_array_equal(table[2], np.minimum(groups, 255))
    assert not maps.as_table(np.ones((3, 2)), [])[0].any()  # a single place
