"""Tables of binary images, against numpy's reader."""

import numpy as np
import pytest
import torch

from moevae.config.schema import DataConfig
from moevae.data import amat
from moevae.data.binarization import target_images
from moevae.data.datasets import load_images, load_labels
from moevae.errors import DataError


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name, count in zip(amat.FILES, (30, 5, 7), strict=True):
        np.savetxt(tmp_path / name, random.integers(0, 2, (count, 16)), fmt="%d")
    return tmp_path


def table(folder):
    return np.concatenate([np.loadtxt(folder / name) for name in amat.FILES])


@pytest.mark.parametrize("binarization", ["static", "dynamic", "none"])
def test_pixels_are_those_of_the_files_in_every_binarization(folder, binarization):
    data = DataConfig(name=f"amat:{folder}", validation_size=0, binarization=binarization)
    images = load_images(data)
    assert images.size == (4, 4)
    seen = target_images(images.test, data, "test")
    assert torch.equal(seen, torch.from_numpy(table(folder)[-7:]).float())
    assert sorted(map(tuple, images.train.numpy() / 255)) == sorted(map(tuple, table(folder)[:-7]))
    assert load_labels(data) is None


def test_line_ends_and_blanks_do_not_matter(folder):
    expected = amat.read_images(folder)
    for name in amat.FILES:
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(" ", "").replace("\n", "\r\n") + "\n\n")
    assert np.array_equal(amat.read_images(folder), expected)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0 1\n0 1 1\n", "line 2: expected zeros and ones"),
        ("0 1\n0 2\n", "line 2: expected zeros and ones"),
        ("0.5 1.0\n", "line 1: expected zeros and ones"),
        ("0 1\n\n0 1\n", "line 2: expected zeros and ones"),
        ("", "line 1: expected zeros and ones"),
        ("0 1\n", "lines of 2, 16 pixels"),
        (None, "no such file or directory; expected the files"),
    ],
)
def test_other_content_is_named(folder, text, found):
    file = folder / amat.FILES[1]
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=found):
        amat.read_images(folder)
