"""Splits are functions of image indices; errors name invalid npz files."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import message_of

from moevae.config.registry import DATASETS
from moevae.config.schema import DataConfig, RunConfig
from moevae.data.datasets import Images, load_images, load_labels
from moevae.data.sources import DataSource
from moevae.errors import DataError


def numbered(folder: Path, count: int) -> DataConfig:
    """Save images whose four pixels spell their number, which is also their label."""
    path = folder / f"{count}.npz"
    numbers = np.arange(count, dtype=">u4")
    images = numbers.view(np.uint8).reshape(count, 2, 2)
    np.savez(path, images=images, labels=numbers.astype(np.int64), value_range=[0, 255])
    return DataConfig(name=f"npz:{path}")


def numbers_of(pixels: torch.Tensor) -> list[int]:
    return pixels.numpy().view(">u4").ravel().tolist()


def change(config: DataConfig, **changes) -> DataConfig:
    return DataConfig(**{**vars(config), **changes})


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(10, 80),
    seed=st.integers(0, 2**40),
    held_out=st.none() | st.integers(0, 5),
    data=st.data(),
)
def test_splits_part_the_images_and_labels_follow_them(tmp_path_factory, count, seed, held_out, data):
    config = change(
        numbered(tmp_path_factory.mktemp("npz"), count), split_seed=seed, validation_size=held_out
    )
    images, labels = load_images(config), load_labels(config)
    splits = [numbers_of(images.train), numbers_of(images.validation), numbers_of(images.test)]
    assert sorted(itertools.chain(*splits)) == list(range(count))
    pool = count - count // 5
    expected = max(1, pool // 10) if held_out is None else held_out
    assert [len(split) for split in splits] == [pool - expected, expected, count // 5]
    assert [list(split) for split in (labels.train, labels.validation, labels.test)] == splits

    size = data.draw(st.integers(1, len(splits[0])))
    smaller = load_images(change(config, train_size=size))
    assert numbers_of(smaller.train) == splits[0][:size]
    assert numbers_of(smaller.validation) == splits[1]
    assert numbers_of(smaller.test) == splits[2]
    assert list(load_labels(change(config, train_size=size)).train) == splits[0][:size]


def test_split_seed_moves_every_split_and_nothing_else_moves_the_test_set(tmp_path):
    config = numbered(tmp_path, 100)
    first, other = load_images(config), load_images(change(config, split_seed=1))
    assert sorted(numbers_of(first.test)) != sorted(numbers_of(other.test))
    assert sorted(numbers_of(first.validation)) != sorted(numbers_of(other.validation))
    assert first.sha256 == other.sha256
    resized = load_images(change(config, validation_size=20, train_size=5))
    assert numbers_of(first.test) == numbers_of(resized.test)


def test_splits_are_the_same_on_every_machine(tmp_path):
    """Golden; to update: numbers_of(load_images(numbered(folder, 20)).test), and of the other splits."""
    images = load_images(numbered(tmp_path, 20))
    assert numbers_of(images.test) == [18, 2, 14, 0]
    assert numbers_of(images.validation) == [13]
    assert numbers_of(images.train)[:5] == [10, 7, 12, 15, 1]


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, labels = load_images(DataConfig()), load_labels(DataConfig())
    assert (images.height, images.width, images.train.dtype) == (8, 8, torch.float32)
    rows = {tuple(row): target for row, target in zip(*load_digits(return_X_y=True), strict=True)}
    for pixels, targets in ((images.train, labels.train), (images.test, labels.test)):
        assert [rows[tuple(row)] for row in (16 * pixels).tolist()] == targets.tolist()
    assert labels.classes == tuple("0123456789")
    assert images.sha256 == hashlib.sha256((load_digits().data / 16).astype("<f4").tobytes()).hexdigest()


def test_images_hold_no_labels():
    assert {"labels", "classes", "targets"}.isdisjoint(vars(load_images(DataConfig())))


@pytest.mark.parametrize(
    ("images", "sides"),
    [(np.full((9, 3, 5), 17, np.uint8), (3, 5)), (np.ones((9, 16)), (4, 4)), (np.ones((9, 6)), (1, 6))],
)
def test_npz_takes_bytes_and_floats_flat_or_not(tmp_path, images, sides):
    np.savez(tmp_path / "own.npz", images=images)
    config = DataConfig(name=f"npz:{tmp_path / 'own.npz'}")
    loaded = load_images(config)
    assert (loaded.height, loaded.width) == sides
    assert loaded.train.dtype == (torch.uint8 if images.dtype == np.uint8 else torch.float32)
    assert loaded.test.shape == (1, sides[0] * sides[1])
    assert load_labels(config) is None


def test_npz_labels_may_be_words(tmp_path):
    words = np.array(["b", "a", "c", "a", "b"])
    np.savez(tmp_path / "own.npz", images=np.arange(20, dtype=np.uint8).reshape(5, 4), labels=words)
    config = DataConfig(name=f"npz:{tmp_path / 'own.npz'}")
    images, labels = load_images(config), load_labels(config)
    assert labels.classes == ("a", "b", "c")
    numbers = images.train[:, 0] // 4
    assert [labels.classes[label] for label in labels.train] == words[numbers].tolist()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"labels": np.zeros(9, int)}, "expected an array named images"),
        ({"images": np.zeros(9)}, "1 axes; expected [N, H, W] or [N, D]"),
        ({"images": np.zeros((9, 2, 2, 1))}, "4 axes; expected [N, H, W] or [N, D]"),
        ({"images": np.zeros((0, 4))}, "empty"),
        ({"images": np.full((9, 4), np.nan)}, "contain NaN"),
        ({"images": np.full((9, 4), np.inf)}, "range from inf to inf"),
        (
            {"images": np.full((9, 4), 255.0)},
            "range from 255 to 255; expected uint8 of 0..255, float in [0, 1], or other numbers",
        ),
        ({"images": np.full((9, 4), -0.1)}, "range from -0.1"),
        ({"images": np.zeros((9, 4), np.int64)}, "dtype int64; expected uint8 of 0..255, float"),
        ({"images": np.full((9, 4), "x")}, "dtype <U1"),
        ({"images": np.full((9, 4), None)}, "pickled Python objects"),
        ({"images": np.zeros((2, 4))}, "2 images cannot be split"),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path, arrays, reason):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    message = message_of(DataConfig(name=f"npz:{path}"))
    assert reason in message
    assert f"npz:{path}" in message


def test_an_invalid_npz_file_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    config = DataConfig(name=f"npz:{path}")
    assert "file not found" in message_of(config)
    np.savez(path, images=np.zeros((50, 50)))
    whole = path.read_bytes()
    for content in (b"", b"<html>\nno\n</html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert "not a complete npz file" in message_of(config)
    path.write_bytes(whole[:300] + b"!!" + whole[302:])
    assert "Bad CRC-32" in message_of(config)
    with path.open("wb") as file:
        np.save(file, np.zeros((9, 4)))
    assert "a single unnamed array" in message_of(config)
    assert "not a complete npz file" in message_of(DataConfig(name=f"npz:{tmp_path}"))


@pytest.mark.parametrize("labels", [np.zeros(8, int), np.zeros((9, 1), int), np.zeros(9)])
def test_labels_of_another_form_leave_the_images_usable(tmp_path, labels):
    np.savez(tmp_path / "own.npz", images=np.zeros((9, 4)), labels=labels)
    config = DataConfig(name=f"npz:{tmp_path / 'own.npz'}")
    assert len(load_images(config).test) == 1
    with pytest.raises(DataError, match=r"expected \[9\], integers or strings"):
        load_labels(config)


def test_more_images_than_there_are_is_refused():
    assert message_of(DataConfig(train_size=1296)) == (
        "data.train_size = 1296: digits has 1295 training images, 143 for validation and 359 for test"
    )
    assert len(load_images(DataConfig(train_size=1295)).train) == 1295
    assert "data.validation_size = 1438: digits has 1438" in message_of(DataConfig(validation_size=1438))


def in_classes(folder: Path, count: int = 400, classes: int = 4) -> DataConfig:
    """Save numbered images whose label is their number modulo the classes."""
    path, numbers = folder / "classes.npz", np.arange(count, dtype=">u4")
    labels = numbers.astype(np.int64) % classes
    np.savez(path, images=numbers.view(np.uint8).reshape(count, 2, 2), labels=labels)
    return DataConfig(name=f"npz:{path}", validation_size=0)


def test_class_sizes_fall_by_the_factor_and_the_test_set_stays(tmp_path):
    config = in_classes(tmp_path)
    whole, whole_labels = load_images(config), load_labels(config)
    pool = np.bincount(whole_labels.train)
    for factor in (0.5, 0.1, 1e-3):
        thin = change(config, imbalance=factor)
        images, labels = load_images(thin), load_labels(thin)
        assert (np.array(numbers_of(images.train)) % 4).tolist() == labels.train.tolist()
        order = np.argsort(-np.bincount(labels.train) / pool)
        if factor == 0.5:
            expected = [round(pool[label] * factor**rank) for rank, label in enumerate(order)]
            assert np.bincount(labels.train)[order].tolist() == expected
        assert min(np.bincount(labels.train, minlength=4)) >= 1
        assert set(numbers_of(images.train)) <= set(numbers_of(whole.train))
        assert torch.equal(images.test, whole.test)
        assert images.sha256 == whole.sha256
        assert torch.equal(images.train, load_images(thin).train)


def test_a_smaller_factor_keeps_less_of_the_same(tmp_path):
    factors = (1.0, 0.8, 0.5, 0.2)
    kept = [
        set(numbers_of(load_images(change(in_classes(tmp_path), imbalance=each)).train)) for each in factors
    ]
    assert kept[0] > kept[1] > kept[2] > kept[3]


def test_the_order_of_classes_is_the_split_seeds(tmp_path):
    seeds = [change(in_classes(tmp_path), imbalance=0.3, split_seed=seed) for seed in range(12)]
    largest = {np.bincount(load_labels(each).train).argmax() for each in seeds}
    assert largest == {0, 1, 2, 3}


def test_sizes_count_images_of_the_imbalanced_set(tmp_path):
    config = change(in_classes(tmp_path), imbalance=0.5, validation_size=30)
    whole, part = load_images(config), load_images(change(config, train_size=60))
    assert numbers_of(part.train) == numbers_of(whole.train)[:60]
    assert torch.equal(part.validation, whole.validation)
    for labels in (load_labels(change(config, train_size=60)).train, load_labels(config).validation):
        shares = np.sort(np.bincount(labels) / len(labels))[::-1]
        assert shares == pytest.approx(0.5 ** np.arange(4) / 1.875, abs=0.15)
    assert "training images" in message_of(change(config, train_size=300))


def test_imbalance_needs_labels(tmp_path):
    path = tmp_path / "bare.npz"
    np.savez(path, images=np.zeros((20, 2, 2)))
    message = message_of(DataConfig(name=f"npz:{path}", imbalance=0.5))
    assert message.startswith("data.imbalance = 0.5: ")
    assert str(path) in message


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        (torch.zeros(4, 5, 6), ValueError, r"train images have shape \[4, 5, 6\]; expected \[N, 30\]"),
        (torch.zeros(4, 29), ValueError, r"expected \[N, 30\] for 5 x 6 pixels"),
        (np.zeros((4, 30), np.float32), TypeError, r"\bndarray\b.*\btensor\b"),
        (torch.zeros(4, 30, dtype=torch.float64), TypeError, r"torch\.float64.*\buint8\b"),
    ],
)
def test_images_of_another_form_are_refused(train, error, words):
    empty = torch.zeros(0, 30)
    with pytest.raises(error, match=words):
        Images("noise", "", 5, 6, train, empty, empty)


def test_a_folder_may_be_a_string(tmp_path):
    asked = []

    def pixels(root):
        asked.append(root)
        return np.zeros((9, 2, 2), np.uint8)

    DATASETS.register("of-a-test")(DataSource(images=pixels))
    try:
        load_images(DataConfig(name="of-a-test"), str(tmp_path))
        load_images(DataConfig(name="of-a-test"))
    finally:
        DATASETS.unregister("of-a-test")
    assert asked == [tmp_path, None]


@pytest.mark.parametrize("load", [load_images, load_labels])
def test_loaders_accept_only_a_data_configuration(load):
    with pytest.raises(TypeError, match=r"RunConfig.*data"):
        load(RunConfig())
    with pytest.raises(TypeError, match=r"str.*DataConfig"):
        load("mnist")
