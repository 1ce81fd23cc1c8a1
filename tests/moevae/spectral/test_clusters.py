"""Clusters of the graph of neighbors: separate groups are found exactly, and their number too."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from moevae.data.neighbors import NeighborIndex
from moevae.spectral import clusters
from moevae.spectral import graph as graphs
from moevae.spectral.clusters import cluster_graph, cluster_images, neighbor_shares
from moevae.spectral.graph import Graph, image_index, neighbor_graph, spectral_embedding


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch):
    monkeypatch.setattr(clusters, "CANDIDATES_EACH", 1)


def blobs(sizes, spread=1.0):
    count = len(sizes)
    centers = 5 * np.random.RandomState(count).randn(count, 20)
    points, labels = make_blobs(sizes, n_features=20, cluster_std=spread, random_state=count, centers=centers)
    return Graph(*NeighborIndex(points.astype(np.float32)).own()), labels


def digits():
    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels * (255 / 16)).round().to(torch.uint8), labels


UNEQUAL = [50, 450, 150, 80, 500, 90, 60, 200, 110, 400, 55]


@pytest.mark.parametrize(
    "sizes",
    [
        [100] * 3,
        [150, 300, 40, 90],
        pytest.param([60] * 15, marks=pytest.mark.slow),
        pytest.param(UNEQUAL, marks=pytest.mark.slow),
    ],
)
def test_separate_groups_are_found_exactly_and_their_number_too(sizes):
    graph, labels = blobs(sizes)
    for count in (len(sizes), None):
        found = cluster_graph(graph, count, seed=0)
        assert found.count == len(sizes)
        assert adjusted_rand_score(labels, found.labels) == 1
        shares = np.array(sizes) / sum(sizes)
        assert found.information == pytest.approx(-(shares * np.log(shares)).sum())  # closed groups


def test_the_first_eigenvectors_are_constant_on_separate_groups():
    graph, labels = blobs([200, 300, 400])
    vectors = spectral_embedding(graph, 3)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for group in range(3):
        within = rows[labels == group]
        np.testing.assert_allclose(within, np.broadcast_to(within[:1], within.shape), atol=1e-3)


def test_few_and_many_images_have_the_same_eigenvectors(monkeypatch):
    graph, _ = blobs([150] * 4, spread=4.0)
    sparse = spectral_embedding.__wrapped__(graph, 6)
    monkeypatch.setattr(graphs, "DENSE", 1000)
    dense = spectral_embedding.__wrapped__(graph, 6)
    np.testing.assert_allclose(np.abs((sparse * dense).sum(0)), 1, atol=0.02)


def test_digits_are_found_without_labels():
    images, labels = digits()
    found = cluster_images(images, (8, 8), 10, seed=0)
    assert normalized_mutual_info_score(labels, found.labels) > 0.85


def test_a_seed_gives_one_clustering_and_other_seeds_others():
    graph, _ = blobs([100] * 5, spread=6.0)
    first, again, other = (cluster_graph(graph, 5, seed).labels for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [None, 1, 4])
@pytest.mark.parametrize(
    ("images", "kind"), [(1, "noise"), (2, "noise"), (9, "black"), (90, "black"), (40, "noise")]
)
def test_very_few_images_and_black_ones_are_clustered_too(images, kind, count):
    pixels = torch.zeros(images, 20, dtype=torch.uint8)
    if kind == "noise":
        pixels = torch.randint(0, 256, (images, 20), generator=torch.Generator().manual_seed(0)).byte()
    found = cluster_images(pixels, (4, 5), count, seed=0)
    assert found.labels.shape == (images,)
    assert found.labels.min() >= 0
    assert found.labels.max() < found.count
    assert count in (None, found.count)


@pytest.mark.parametrize("change", ["inverted", "larger", "float"])
def test_inverted_or_larger_images_are_clustered_as_well(change):
    images, labels = digits()
    size = (8, 8)
    if change == "inverted":
        images = 255 - images
    if change == "float":
        images = images.float() / 255
    if change == "larger":
        images = images.view(-1, 8, 8).repeat_interleave(3, 1).repeat_interleave(2, 2).flatten(1)
        size = (24, 16)
    found = cluster_images(images, size, 10, seed=0)
    assert normalized_mutual_info_score(labels, found.labels) > 0.8


def test_new_images_follow_the_votes_of_the_nearest():
    images, _ = digits()
    found = cluster_images(images, (8, 8), 10, seed=0)
    nearest = image_index(images, (8, 8)).nearest(images[:50])
    assert nearest[:, 0].tolist() == list(range(50))
    np.testing.assert_array_equal(nearest[:, 1:], neighbor_graph(images, (8, 8)).neighbors[:50, :9])
    shares = neighbor_shares(found.labels, nearest, 10)
    expected = [np.bincount(found.labels[row], minlength=10) / 10 for row in nearest]
    np.testing.assert_allclose(shares, expected)
