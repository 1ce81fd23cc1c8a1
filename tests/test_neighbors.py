"""Neighbors and their distances, against brute force."""

import pytest
import torch

from moevae import neighbors
from moevae.neighbors import distances, edges, ink, nearest


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_distances_are_those_of_brute_force(dtype):
    images = (255 * torch.rand(60, 16, generator=torch.Generator().manual_seed(5))).to(dtype)
    images = images if dtype == torch.uint8 else images / 255
    gray = images.float() / (255 if dtype == torch.uint8 else 1)
    expected = torch.cdist(gray, gray).sort(1).values[:, 10]
    torch.testing.assert_close(distances(images, 0), expected, rtol=1e-4, atol=1e-5)


def test_in_a_sample_a_nearer_neighbor_stands_for_the_tenth(monkeypatch):
    images = torch.rand(2000, 8, generator=torch.Generator().manual_seed(6))
    exact = distances(images, 0)
    monkeypatch.setattr(neighbors, "REFERENCE", 600)
    sampled = distances(images.clone(), 0)
    assert not torch.equal(sampled, exact)
    assert abs(float((sampled / exact).mean()) - 1) < 0.1
    assert (sampled > 0).all()
    assert torch.equal(distances(images.clone(), 0), sampled)


def test_few_images_have_the_neighbors_that_there_are():
    images = torch.tensor([[0.0, 0.0], [0.3, 0.4], [0.0, 1.0]])
    torch.testing.assert_close(distances(images, 0), torch.tensor([1.0, (0.09 + 0.36) ** 0.5, 1.0]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_nearest_are_those_by_hellinger_distance(dtype):
    images = 255 * torch.rand(60, 16, generator=torch.Generator().manual_seed(7)).square()
    images = images.to(dtype) if dtype == torch.uint8 else images / 255
    shares = images.double() / images.double().sum(1, keepdim=True)
    apart = (1 - (shares[:, None] * shares[None]).sqrt().sum(-1)).clamp_min(0).sqrt()
    expected = apart.fill_diagonal_(2).sort(1).indices[:, :10]
    assert torch.equal(nearest(images, (4, 4), ink), expected)


def stripes(across, shift, size=16):
    """An image of stripes, of a period of four, that run across or down."""
    wave = ((torch.arange(size) + shift) % 4 < 2).float()
    return (wave[:, None] if across else wave[None]).expand(size, size).flatten()


def test_by_edges_the_nearest_have_edges_of_the_same_direction():
    """Half of the images have stripes that run across, in eight shades, and half have them run down."""
    images = torch.stack([shade / 8 * stripes(across, 0) for across in (0, 1) for shade in range(1, 9)])
    found = nearest(images, (16, 16), edges)
    assert all(set(row[:7].tolist()) == set(range(8)) - {place} for place, row in enumerate(found[:8]))
    assert all(
        set(row[:7].tolist()) == set(range(8, 16)) - {8 + place} for place, row in enumerate(found[8:])
    )


def test_edges_tell_directions_where_ink_is_shared_alike():
    """Stripes with a bar's ink in the same pixels' number: only the gradients' histogram differs in kind."""
    seen = edges(torch.stack([stripes(0, 0), stripes(1, 0), stripes(0, 2)]), (16, 16))
    histograms = seen[:, :-256]
    assert histograms.shape[1] == 4 * 4 * 8
    torch.testing.assert_close(histograms.norm(dim=1), torch.ones(3))
    across, turned, shifted = histograms
    assert across @ shifted > 0.9 > 0.1 > across @ turned


@pytest.mark.parametrize("look", [ink, edges])
def test_no_image_is_its_own_neighbor_even_beside_its_copy(look):
    images = torch.rand(12, 6, generator=torch.Generator().manual_seed(7)).repeat(2, 1)
    found = nearest(images, (2, 3), look)
    assert found.shape == (24, 10)
    assert not (found == torch.arange(24)[:, None]).any()
    assert torch.equal(found[:, 0], (torch.arange(24) + 12) % 24)


@pytest.mark.parametrize("look", [ink, edges])
def test_few_images_are_all_neighbors_and_one_alone_is_its_own(look):
    images, size = torch.eye(3), (1, 3)
    assert [sorted(row) for row in nearest(images, size, look).tolist()] == [[1, 2], [0, 2], [0, 1]]
    assert nearest(images[:1], size, look).tolist() == [[0]]
    assert nearest(torch.zeros(3, 4), (2, 2), look).shape == (3, 2)
