"""Neighbors and their distances, against brute force."""

import resource

import pytest
import sklearn.decomposition
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from moevae.data import neighbors
from moevae.data.neighbors import distances, nearest_neighbors


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
    assert torch.equal(nearest_neighbors(images), expected)


@pytest.mark.parametrize("count", [60, 1100])
def test_large_images_have_the_nearest_too(count):
    """Of clusters in few dimensions, so that 64 components hold all of the distances."""
    draw = torch.Generator().manual_seed(8)
    basis = torch.rand(20, 64 * 64, generator=draw)
    images = (torch.rand(count, 20, generator=draw).pow(4) @ basis / 20).square()
    ink = (images.double() / images.double().sum(1, keepdim=True)).sqrt()
    apart = 1 - ink @ ink.T
    expected = apart.fill_diagonal_(2).sort(1).indices[:, :10]
    found = nearest_neighbors(images)
    agreement = (found[:, :, None] == expected[:, None]).any(1).double().mean()
    assert agreement > 0.99


@pytest.mark.parametrize("count", [60, 1100])
def test_no_matrix_of_pixels_by_pixels_is_made(count, monkeypatch):
    asked = []

    class Watched(PCA):
        def fit_transform(self, points):
            asked.append(self.svd_solver)
            return super().fit_transform(points)

    monkeypatch.setattr(sklearn.decomposition, "PCA", Watched)
    nearest_neighbors(torch.rand(count, 1500, generator=torch.Generator().manual_seed(8)))
    nearest_neighbors(torch.rand(count, 784, generator=torch.Generator().manual_seed(8)))
    assert asked == ["full" if count == 60 else "randomized", "covariance_eigh"]


def test_sixty_large_images_take_no_more_than_their_size():
    images = torch.rand(60, 300 * 300, generator=torch.Generator().manual_seed(8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert nearest_neighbors(images).shape == (60, 10)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < 20 * images.numel() * 4


def test_no_image_is_its_own_neighbor_even_with_a_copy_of_it():
    images = torch.rand(12, 6, generator=torch.Generator().manual_seed(7)).repeat(2, 1)
    found = nearest_neighbors(images)
    assert found.shape == (24, 10)
    assert not (found == torch.arange(24)[:, None]).any()
    assert torch.equal(found[:, 0], (torch.arange(24) + 12) % 24)


def test_few_images_are_all_neighbors_and_one_alone_is_its_own():
    images = torch.eye(3)
    assert [sorted(row) for row in nearest_neighbors(images).tolist()] == [[1, 2], [0, 2], [0, 1]]
    assert nearest_neighbors(images[:1]).tolist() == [[0]]
    assert nearest_neighbors(torch.zeros(3, 4)).shape == (3, 2)


def test_neighbors_do_not_depend_on_the_number_of_threads():
    """Of images that are about as near as many others, so that the last bit decides."""
    images = (torch.rand(3000, 64, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.uint8) * 255
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(nearest_neighbors(images.clone()))
    assert torch.equal(*found)
