"""Neighbors and their distances, against brute force."""

import pytest
import torch
from threadpoolctl import threadpool_limits

from moevae import neighbors
from moevae.neighbors import distances, nearest


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
    ink = images.double() / images.double().sum(1, keepdim=True)
    apart = (1 - (ink[:, None] * ink[None]).sqrt().sum(-1)).clamp_min(0).sqrt()
    expected = apart.fill_diagonal_(2).sort(1).indices[:, :10]
    assert torch.equal(nearest(images), expected)


def test_no_image_is_its_own_neighbor_even_beside_its_copy():
    images = torch.rand(12, 6, generator=torch.Generator().manual_seed(7)).repeat(2, 1)
    found = nearest(images)
    assert found.shape == (24, 10)
    assert not (found == torch.arange(24)[:, None]).any()
    assert torch.equal(found[:, 0], (torch.arange(24) + 12) % 24)


def test_few_images_are_all_neighbors_and_one_alone_is_its_own():
    images = torch.eye(3)
    assert [sorted(row) for row in nearest(images).tolist()] == [[1, 2], [0, 2], [0, 1]]
    assert nearest(images[:1]).tolist() == [[0]]
    assert nearest(torch.zeros(3, 4)).shape == (3, 2)


def test_neighbors_are_the_same_however_many_threads_look_for_them():
    """Of images that are about as near as many others, so that the last bit decides."""
    images = (torch.rand(3000, 64, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.uint8) * 255
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(nearest(images.clone()))
    assert torch.equal(*found)
