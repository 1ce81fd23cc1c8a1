"""The laws of data sets hold for every registered one; the check refuses data sets that break them."""

import numpy as np
import pytest
from PIL import Image

from moevae.config.registry import DATASETS, RELEASES
from moevae.config.schema import DataConfig
from moevae.data import amat
from moevae.data.checks import check_data_set
from moevae.data.idx import is_available
from moevae.data.sources import DataSource

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.random((40, 5, 6), dtype=np.float32)
LABELS = np.arange(40) % 3, ("a", "b", "c")


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets(name):
    check_data_set(DataConfig(name=name))


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASES)
def test_releases(name):
    if not is_available(name, None):
        pytest.skip("not downloaded")
    check_data_set(DataConfig(name=name))


def test_archives(tmp_path):
    numbers = LABELS[0]
    arrays = {"images": PIXELS[9:], "labels": numbers[9:]}
    np.savez(tmp_path / "own.npz", test_images=PIXELS[:9], test_labels=numbers[:9], **arrays)
    check_data_set(DataConfig(name=f"npz:{tmp_path}/own.npz"))


def test_tables_of_binary_images(tmp_path):
    for name in amat.FILES:
        np.savetxt(tmp_path / name, PIXELS.reshape(40, -1) > 0.5, fmt="%d")
    check_data_set(DataConfig(name=f"amat:{tmp_path}", validation_size=10))


def test_folders(tmp_path):
    for number, pixels in enumerate(PIXELS):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray((255 * pixels).astype(np.uint8)).save(folder / f"{number:02}.png")
    check_data_set(DataConfig(name=f"folder:{tmp_path}"))


@pytest.fixture
def registered():
    """Register a data set under the name of-a-test."""

    def register(images, labels=None, num_test=None):
        source = DataSource(images, labels or (lambda root: None), num_test)
        DATASETS.register("of-a-test")(source)
        return DataConfig(name="of-a-test")

    yield register
    DATASETS.unregister("of-a-test")


def test_a_data_set_of_ones_own(registered):
    check_data_set(registered(lambda root: PIXELS, lambda root: LABELS, num_test=10))


@pytest.mark.parametrize(
    ("images", "labels", "law"),
    [
        (lambda root: 255 * PIXELS, None, "from 0 to 1"),
        (lambda root: PIXELS * np.float32("nan"), None, "finite"),
        (lambda root: RANDOM.random((40, 5, 6), dtype=np.float32), None, "the digest is the same"),
        (lambda root: PIXELS, lambda root: (LABELS[0] + 1, LABELS[1]), "indices into the classes"),
        (lambda root: PIXELS, lambda root: (LABELS[0], ("a", "a", "b")), "classes have names"),
        (lambda root: PIXELS, lambda root: (LABELS[0].astype(np.int32), LABELS[1]), "int64"),
    ],
)
def test_a_data_set_that_breaks_a_law(registered, images, labels, law):
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"):
        check_data_set(registered(images, labels))
