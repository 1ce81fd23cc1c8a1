"""Binarization: from stored pixels to the targets of the likelihood."""

import pytest
import torch

from moevae.config.schema import DataConfig
from moevae.data.binarization import binarize_once, target_images, to_float


def test_gray_of_bytes_and_of_gray():
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0.0, 0.2, 1.0])
    already = torch.tensor([0.0, 0.3, 0.5, 1.0])
    assert to_float(already) is already


def test_binarized_once_is_a_draw_with_the_gray_value_as_probability():
    images = torch.linspace(0, 1, 11).repeat(20_000, 1)
    drawn = binarize_once(images, seed=3, split="test")
    assert drawn.dtype == torch.float32
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn[:, 0].sum() == 0
    assert drawn[:, -1].sum() == 20_000
    torch.testing.assert_close(drawn.mean(0), images[0], rtol=0, atol=5 * 0.5 / 20_000**0.5)


def test_binarized_once_repeats_itself_and_changes_with_seed_and_split():
    images = torch.full((50, 30), 0.5)
    first = binarize_once(images, 0, "test")
    assert torch.equal(first, binarize_once(images, 0, "test"))
    assert not torch.equal(first, binarize_once(images, 1, "test"))
    assert not torch.equal(first, binarize_once(images, 0, "validation"))


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_binarizing_in_pieces_changes_nothing(chunk):
    images = torch.rand(100, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(binarize_once(images, 0, "test", chunk), binarize_once(images, 0, "test"))


def test_black_and_white_pixels_stay():
    images = (torch.rand(40, 20, generator=torch.Generator().manual_seed(0)) > 0.5).to(torch.uint8) * 255
    assert torch.equal(binarize_once(images, 0, "train"), to_float(images))


@pytest.mark.parametrize(("binarization", "binary"), [("dynamic", True), ("static", True), ("none", False)])
def test_evaluation_sees_pixels_drawn_once_unless_they_stay_gray(binarization, binary):
    images = torch.rand(40, 20, generator=torch.Generator().manual_seed(0))
    data = DataConfig(binarization=binarization, split_seed=5)
    seen = target_images(images, data, "test")
    assert torch.equal(seen, binarize_once(images, 5, "test") if binary else images)


def test_no_images_are_no_error():
    assert target_images(torch.zeros(0, 9), DataConfig(), "validation").shape == (0, 9)
