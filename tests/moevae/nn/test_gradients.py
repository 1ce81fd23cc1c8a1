"""Oriented gradients: invariances, and images of any size."""

import math

import numpy as np
import pytest
import torch

from moevae.nn.gradients import CELLS, FEATURES, ORIENTATIONS, cell_weights, histograms_of_gradients

SIDE = 28


def bar(angle, side=SIDE):
    """A bright bar through the center, at an angle from the horizontal."""
    across = (torch.arange(side) + 0.5) / side - 0.5
    y, x = torch.meshgrid(across, across, indexing="ij")
    distance = x * math.sin(angle) - y * math.cos(angle)
    return torch.exp(-((distance / 0.08) ** 2)).reshape(1, -1)


def cells(image, size=(SIDE, SIDE)):
    return histograms_of_gradients(image, size).view(ORIENTATIONS, CELLS, CELLS)


def test_a_quarter_turn_moves_the_cells_and_turns_the_orientations():
    image = torch.rand(1, SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    turned = torch.rot90(image.view(SIDE, SIDE)).reshape(1, -1)
    expected = torch.rot90(cells(image), dims=(1, 2)).roll(-ORIENTATIONS // 4, 0)
    torch.testing.assert_close(cells(turned), expected, rtol=1e-4, atol=1e-4)


def test_a_brighter_or_darker_image_has_nearly_the_same_features():
    image = bar(0.3)
    assert (cells(0.6 * image) - cells(image)).abs().max() < 0.05 * cells(image).abs().max()
    torch.testing.assert_close(cells(0.6 * image + 0.4), cells(0.6 * image), rtol=1e-3, atol=1e-3)


def test_a_gradient_is_counted_in_the_bin_of_its_direction():
    ramp = torch.arange(SIDE).expand(SIDE, SIDE).reshape(1, -1) / SIDE  # brighter to the right
    inner = cells(ramp)[:, 2:5, 2:5].sum((1, 2))
    assert inner.argmax() == 0
    assert inner[ORIENTATIONS // 2] == 0


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (16, 16), (8, 8), (64, 48), (5, 6), (1, 30)])
def test_images_of_any_size_have_as_many_features_of_one_norm(size):
    noise = torch.rand(3, 4, math.prod(size), generator=torch.Generator().manual_seed(1))
    found = histograms_of_gradients(noise, size)
    assert found.shape == (3, 4, FEATURES)
    torch.testing.assert_close(found.square().mean(-1), torch.ones(3, 4))
    assert torch.equal(
        histograms_of_gradients(torch.zeros(2, math.prod(size)), size), torch.zeros(2, FEATURES)
    )


def test_the_features_of_a_picture_survive_a_change_of_resolution():
    same = [cells(bar(0.5, side), (side, side)) for side in (28, 56)]
    other = cells(bar(2.0))
    cosine = [torch.cosine_similarity(same[0].flatten(), each.flatten(), dim=0) for each in (same[1], other)]
    assert cosine[0] > 0.9 > 0.6 > cosine[1]


@pytest.mark.parametrize("side", [28, 32, 8, 5])
def test_cells_cover_each_inner_pixel_equally(side):
    weights = cell_weights(side).double()
    fine = np.arange(side * 1000) / 1000 + 0.0005  # integrated point by point
    cell = side / CELLS
    for index, row in enumerate(weights):
        inside = (fine >= (index - 0.25) * cell) & (fine < (index + 1.25) * cell)
        expected = np.bincount(fine.astype(int), weights=inside, minlength=side) / 1000 / (1.5 * cell)
        np.testing.assert_allclose(row, expected, atol=2e-3 / cell)


def test_an_image_has_the_features_that_it_has_alone():
    noise = torch.rand(2000, 64, generator=torch.Generator().manual_seed(2))
    found = histograms_of_gradients(noise, (8, 8))
    torch.testing.assert_close(found[:5], histograms_of_gradients(noise[:5], (8, 8)))
