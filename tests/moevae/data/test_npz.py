"""Valid contents of npz files; ambiguous ones are refused."""

import hashlib

import numpy as np
import pytest
import torch
from refusals import message_of

from moevae.config.schema import DataConfig
from moevae.data import npz
from moevae.data.datasets import load_images, load_labels
from moevae.errors import DataError
from moevae.utils import content

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (12, 3, 5), dtype=np.uint8)
BYTES[0, 0, :2] = 0, 255
LABELS = np.arange(12) % 3


@pytest.fixture
def save(tmp_path):
    """Write own.npz and return the configuration that names it."""

    def write(**arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        return DataConfig(name=f"npz:{tmp_path / 'own.npz'}")

    return write


@pytest.fixture
def refused(save):
    """Write own.npz, which is invalid; return the error of images or, if these are valid, of labels."""

    def refuse(**arrays):
        config = save(**arrays)
        with pytest.raises(DataError) as caught:
            (load_images(config), load_labels(config))
        (line,) = str(caught.value).splitlines()
        return line

    return refuse


def test_the_same_pixels_in_another_range_are_the_same_data(save):
    from sklearn.datasets import load_digits

    bundle = load_digits()
    own, built_in = {"labels": bundle.target}, load_images(DataConfig())
    for dtype in (np.uint8, np.int64, np.float64):
        config = save(images=bundle.images.astype(dtype), value_range=[0, 16], **own)
        images, labels = load_images(config), load_labels(config)
        assert images.sha256 == built_in.sha256
        assert torch.equal(images.train, built_in.train)
        assert labels.train.tolist() == load_labels(DataConfig()).train.tolist()


def test_bytes_of_the_whole_range_stay_bytes(save):
    plain = load_images(save(images=BYTES))
    assert plain.sha256 == hashlib.sha256(BYTES.tobytes()).hexdigest()
    ranged = load_images(save(images=BYTES, value_range=[0, 255]))
    assert (ranged.sha256, ranged.train.dtype) == (plain.sha256, torch.uint8)
    signed = load_images(save(images=BYTES.astype(np.int16) - 128, value_range=[-128, 127]))
    assert torch.equal(signed.train, plain.train.float() / 255)


def test_images_larger_than_a_block_are_scaled_alike(save, monkeypatch):
    config = save(images=BYTES, value_range=[-10, 300])
    whole = load_images(config)
    monkeypatch.setattr(npz, "_BLOCK", 40)
    assert load_images(config).sha256 == whole.sha256
    assert whole.train.max() < 1


@pytest.mark.parametrize("highest", [0, 1, 16])
def test_bytes_that_are_hardly_of_0_to_255_need_a_range(refused, highest):
    dark = np.minimum(BYTES, highest)
    assert f"uint8 with a maximum of {highest}" in refused(images=dark)
    assert "value_range" in refused(images=dark, test_images=dark)


def test_bytes_are_judged_with_the_test_set(save):
    dark = np.minimum(BYTES, 16)
    assert load_images(save(images=dark, test_images=BYTES)).train.dtype == torch.uint8
    assert load_images(save(images=np.minimum(BYTES, 17))).train.dtype == torch.uint8


def test_an_own_test_set_is_the_test_split(save):
    more = RANDOM.integers(0, 256, (5, 3, 5), dtype=np.uint8)
    words = np.array(["b", "a", "c"])
    config = save(
        images=BYTES, labels=words[LABELS], test_images=more, test_labels=np.array(["d", "a", "a", "b", "c"])
    )
    for seed in (0, 1):
        seeded = DataConfig(name=config.name, split_seed=seed, validation_size=3)
        images, labels = load_images(seeded), load_labels(seeded)
        assert torch.equal(images.test, torch.from_numpy(more.reshape(5, 15)))
        assert labels.classes == ("a", "b", "c", "d")
        assert [labels.classes[label] for label in labels.test] == ["d", "a", "a", "b", "c"]
        rest = torch.cat([images.train, images.validation])
        assert (len(images.train), len(images.validation)) == (9, 3)
        assert sorted(map(tuple, rest.tolist())) == sorted(map(tuple, BYTES.reshape(12, 15).tolist()))
        names = dict(zip(map(bytes, BYTES.reshape(12, 15)), words[LABELS], strict=True))
        for image, label in zip(images.train, labels.train, strict=True):
            assert names[bytes(image.numpy())] == labels.classes[label]


def test_the_identity_covers_the_test_set_and_its_start(save):
    digests = {
        load_images(save(images=BYTES[:first], test_images=BYTES[first:])).sha256 for first in (8, 9, 10)
    }
    changed = BYTES.copy()
    changed[-1, 0, 0] ^= 1
    digests.add(load_images(save(images=changed[:8], test_images=changed[8:])).sha256)
    digests.add(load_images(save(images=BYTES)).sha256)
    assert len(digests) == 5


def test_class_names_are_those_of_the_labels_that_are_there(save):
    config = save(images=BYTES, labels=LABELS * 2, class_names=np.array(["cat", "x", "dog", "y", "bird"]))
    labels = load_labels(config)
    assert labels.classes == ("cat", "dog", "bird")
    bare = load_labels(save(images=BYTES, labels=LABELS * 2))
    assert bare.classes == ("0", "2", "4")
    assert labels.train.tolist() == bare.train.tolist()


def test_integers_of_two_kinds_are_compared_as_integers(save):
    large = np.full(4, 2**64 - 1, np.uint64)
    config = save(images=BYTES, labels=LABELS - 2**62, test_images=BYTES[:4], test_labels=large)
    first = -(2**62)
    assert load_labels(config).classes == (*map(str, range(first, first + 3)), str(2**64 - 1))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Labels": LABELS}, "unknown array 'Labels': did you mean labels?"),
        ({"label": LABELS}, "did you mean labels?"),
        ({"test_image": BYTES}, "did you mean test_images?"),
        ({"classes": np.array(["a"])}, "did you mean class_names?"),
        ({"valuerange": [0, 1]}, "did you mean value_range?"),
        ({"arr_0": BYTES}, "unknown array 'arr_0'"),
        ({"test_labels": LABELS}, "test_labels needs test_images"),
        ({"test_images": BYTES, "test_labels": LABELS}, "test_labels needs labels"),
        ({"test_images": BYTES, "labels": LABELS}, "test_images have no test_labels"),
        ({"class_names": np.array(["a"])}, "class_names needs labels"),
        ({"test_images": BYTES[:, :2]}, "test_images of shape [12, 2, 5]"),
        ({"test_images": BYTES.reshape(12, 15)}, "test_images of shape [12, 15]"),
        ({"test_images": BYTES / 255}, "test_images of shape [12, 3, 5], float64"),
        ({"test_images": BYTES[:0]}, "test_images of shape [0, 3, 5] are empty"),
        ({"images": BYTES.reshape(12, 15, 1)}, "are 1 pixel wide or high"),
        ({"images": BYTES.reshape(12, 1, 15)}, "are 1 pixel wide or high"),
        ({"images": BYTES.astype(int)}, "dtype int64; expected uint8 of 0..255"),
        ({"images": BYTES, "value_range": [0, 254]}, "range from 0 to 255; expected value_range, 0 to 254"),
        ({"images": BYTES, "value_range": [255, 0]}, "invalid value_range; expected two numbers"),
        ({"images": BYTES, "value_range": [0, np.inf]}, "invalid value_range; expected two numbers"),
        ({"images": BYTES, "value_range": [0, 1, 2]}, "invalid value_range; expected two numbers"),
        ({"images": BYTES, "value_range": np.array(["0", "1"])}, "invalid value_range; expected two numbers"),
        ({"images": np.full((9, 4), np.nan), "value_range": [0, 1]}, "contain NaN"),
        ({"labels": LABELS.astype(str), "test_images": BYTES, "test_labels": LABELS}, "one of labels and"),
        (
            {"labels": LABELS, "class_names": np.array(["a", "b"])},
            "labels range from 0 to 2; expected 0 to 1",
        ),
        ({"labels": LABELS - 1, "class_names": np.array(["a", "b", "c"])}, "range from -1 to 1"),
        ({"labels": LABELS, "class_names": np.array(["a", "b", "a"])}, "contains a name twice"),
        ({"labels": LABELS, "class_names": LABELS}, "expected [C], strings"),
        ({"labels": LABELS.astype(str), "class_names": np.array(["0", "1", "2"])}, "labels are strings;"),
        ({"labels": np.array(["\ud800"] * 12)}, "labels is not valid text"),
        ({"labels": np.full(12, 0x7FFFFFFF, np.uint32).view("<U1")}, "labels is not valid text"),
    ],
)
def test_invalid_arrays_are_refused_by_name(refused, arrays, message):
    assert message in refused(**({"images": BYTES} | arrays))


def test_more_than_memory_is_refused_before_it_is_built(save, monkeypatch):
    config = save(images=BYTES)
    monkeypatch.setattr(content, "available_memory", lambda: 2 * BYTES.nbytes - 1)
    assert f"its arrays have {BYTES.nbytes} bytes" in message_of(config)
    monkeypatch.setattr(content, "available_memory", lambda: 2 * BYTES.nbytes)
    assert len(load_images(config).test) == 2
