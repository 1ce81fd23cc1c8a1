"""Images in memory: their scale is inferred once, and applies to other images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moevae.data.arrays import PixelScale, checked_range, flattened


@pytest.mark.parametrize(
    ("images", "low", "high", "by_type"),
    [
        (np.array([[0, 200]], np.uint8), 0, 255, True),
        (np.array([[0, 16]], np.uint8), 0, 16, False),
        (np.array([[0.2, 0.9]]), 0, 1, True),
        (np.array([[True, False]]), 0, 1, True),
        (np.array([[0, 16.0]]), 0, 16, False),
        (np.array([[0, 255]]), 0, 255, False),
        (np.array([[-3.0, 2.0]]), -3, 2, False),
        (np.array([[7.0, 7.0]]), 7, 8, False),
    ],
)
def test_the_scale_of_training_images(images, low, high, by_type):
    scale = PixelScale.of(images)
    assert scale == PixelScale(low, high, by_type)
    stored = scale.stored(images)
    assert stored.dtype == (torch.uint8 if high == 255 and images.dtype == np.uint8 else torch.float32)
    shares = stored / 255 if stored.dtype == torch.uint8 else stored
    np.testing.assert_allclose(scale.restored(shares.numpy()), images.astype(float), atol=1e-5)


@pytest.mark.filterwarnings("ignore:X ranges from")
@given(st.floats(-100, 100), st.floats(0.1, 100), st.lists(st.floats(-1, 2), min_size=1))
def test_shares_are_clipped_and_are_restored(low, width, shares):
    scale = PixelScale(low, low + width)
    stored = scale.stored(low + width * np.array([shares])).numpy()
    np.testing.assert_allclose(stored, np.clip([shares], 0, 1), atol=1e-4)
    assert stored.min() >= 0
    assert stored.max() <= 1


@pytest.mark.parametrize(
    "scale", [PixelScale(0, 16), PixelScale(0, 255, by_type=True), PixelScale(0, 1, by_type=True)]
)
def test_booleans_are_black_and_white_on_any_scale(scale):
    images = np.array([[True, False]])
    assert scale.stored(images).tolist() == [[1, 0]]
    assert scale.restored(np.array([[1.0, 0.0]]), images.dtype).tolist() == [[1, 0]]


def test_values_far_outside_are_reported():
    scale = PixelScale(0, 16)
    with pytest.warns(UserWarning, match=r"\b0\b.*\b33\b"):
        scale.stored(np.array([[0.0, 33.0]]))


def test_bytes_that_are_probably_shares_are_reported():
    scale = PixelScale.of(np.array([[0.0, 1.0]]))
    with pytest.warns(UserWarning, match="uint8 means 0..255"):
        scale.stored(np.array([[0, 1]], dtype=np.uint8))
    for clear in ([[0, 0]], [[0, 255]]):
        assert scale.stored(np.array(clear, dtype=np.uint8)).tolist() == clear


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_in_memory_is_rows(order):
    images = np.asarray(np.random.default_rng(0).integers(0, 255, (7, 5)).astype(np.uint8), order=order)
    images.setflags(write=False)
    stored = PixelScale.of(images).stored(images)
    assert stored.is_contiguous()
    np.testing.assert_array_equal(stored, images)
    assert PixelScale.of(images / 255).stored(images / 255).is_contiguous()


def test_a_range_of_two_numbers():
    assert checked_range([0, 16]) == PixelScale(0, 16)
    for wrong in ((16, 0), (0, np.inf), (1, 1), "auto", 3, (0, 1, 2)):
        with pytest.raises(ValueError, match=r"^value_range = "):
            checked_range(wrong)


@pytest.mark.parametrize(
    ("shape", "size"), [((4, 30), None), ((4, 5, 6), (5, 6)), ((4, 5, 6, 1), (5, 6)), ((0, 5, 6), (5, 6))]
)
def test_images_become_rows_of_pixels(shape, size):
    images = np.random.default_rng(0).random(shape)
    rows, found = flattened(images)
    assert found == size
    np.testing.assert_array_equal(rows, images.reshape(len(images), 30))


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 1, 5, 6), (4, 5, 6, 1, 1)])
def test_other_forms_are_refused(shape):
    with pytest.raises(ValueError, match=r"X has shape .*expected"):
        flattened(np.zeros(shape))
