"""Image files as gray pixels: modes, rotation and size."""

import numpy as np
import pytest
from PIL import Image

from moevae.data import pictures
from moevae.errors import DataError

GRAY = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)


def solid(alpha):
    """White, with an opacity for each pixel."""
    image = Image.new("RGBA", (5, 7), "white")
    image.putalpha(Image.fromarray(alpha))
    return image


MODES = {
    "gray.png": lambda image: image,
    "gray.bmp": lambda image: image,
    "color.png": lambda image: image.convert("RGB"),
    "palette.png": lambda image: image.convert("P"),
    "16-bit.png": lambda image: Image.fromarray(GRAY.astype(np.uint16) * 257),
    "16-bit.tif": lambda image: Image.fromarray(GRAY.astype(np.uint16) * 257),
    "32-bit.tiff": lambda image: Image.fromarray(GRAY.astype(np.int32) * 257),
    "float.tif": lambda image: Image.fromarray((GRAY / 255).astype(np.float32)),
    "cmyk.tif": lambda image: image.convert("CMYK"),
    "alpha.png": lambda image: solid(GRAY),
    "gray-alpha.png": lambda image: solid(GRAY).convert("LA"),
    "UPPER.PNG": lambda image: image,
}


@pytest.mark.parametrize("name", MODES)
def test_one_picture_in_any_mode_is_the_same_pixels(name, tmp_path):
    MODES[name](Image.fromarray(GRAY)).save(tmp_path / name)
    np.testing.assert_array_equal(pictures.read(tmp_path / name), GRAY)


def test_black_and_white_is_0_and_255(tmp_path):
    Image.fromarray(GRAY > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(pictures.read(tmp_path / "bits.png"), np.where(GRAY > 127, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [(1, GRAY), (2, GRAY[:, ::-1]), (3, GRAY[::-1, ::-1]), (6, np.rot90(GRAY)), (8, np.rot90(GRAY, -1))],
)
def test_an_image_is_rotated_by_its_exif_orientation(orientation, stored, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"turned.{suffix}", exif=exif)
    np.testing.assert_array_equal(pictures.read(tmp_path / f"turned.{suffix}"), GRAY)


def test_colors_are_the_luma_of_itu_601(tmp_path):
    colors = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(colors).save(tmp_path / "colors.png")
    np.testing.assert_allclose(pictures.read(tmp_path / "colors.png"), colors @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resizing_crops_about_the_center_and_keeps_flat_pictures_flat(dtype):
    wide = np.zeros((10, 30), dtype)
    wide[:, 10:20] = 200 if dtype == np.uint8 else 0.75
    for size in ((10, 10), (5, 5), (23, 23)):
        found = pictures.resized(wide, size)
        assert (found.dtype, found.shape) == (dtype, size)
        inner = found[:, 2:-2]  # the filter reads beyond the crop at its edge
        np.testing.assert_allclose(inner, wide[0, 15], atol=1e-6)
    assert pictures.resized(wide, (10, 30)) is wide


def test_halving_is_an_average_and_not_every_other_pixel():
    stripes = np.tile(np.array([0, 255], np.uint8), (16, 8))
    assert abs(pictures.resized(stripes, (8, 8))[2:-2, 2:-2].astype(int) - 127).max() <= 40


def test_an_error_states_the_fault_and_not_the_path(tmp_path):
    with pytest.raises(DataError, match="No such file") as caught:
        pictures.read(tmp_path / "absent.png")
    assert str(tmp_path) not in str(caught.value)
