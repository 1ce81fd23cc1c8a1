"""Splits are laws over image numbers; official files agree with torchvision; broken ones are named."""

import contextlib
import gzip
import hashlib
import http.server
import itertools
import os
import threading
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moevae import idx
from moevae.config import DataConfig
from moevae.data import load_images, load_labels
from moevae.errors import DataError
from moevae.releases import RELEASES

IMAGES, TEST_IMAGES = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def numbered(folder: Path, count: int) -> DataConfig:
    """Save images whose four pixels spell their number, which is also their label."""
    path = folder / f"{count}.npz"
    numbers = np.arange(count, dtype=">u4")
    np.savez(path, images=numbers.view(np.uint8).reshape(count, 2, 2), labels=numbers.astype(np.int64))
    return DataConfig(name=f"npz:{path}")


def numbers_of(pixels: torch.Tensor) -> list[int]:
    return pixels.numpy().view(">u4").ravel().tolist()


def change(config: DataConfig, **changes) -> DataConfig:
    return DataConfig(**{**vars(config), **changes})


def message_of(config: DataConfig, root: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        load_images(config, root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture
def offline(monkeypatch):
    """A machine without a network."""

    def refuse(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def raw(tmp_path, offline):
    """An empty folder for MNIST's files; the data root is two levels up."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def serve(monkeypatch):
    """Let torchvision download from a folder of ours."""
    servers = []

    def start(name: str, folder: Path) -> None:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, directory=str(folder), **options)

            def copyfile(self, *files):
                with contextlib.suppress(
                    ConnectionError
                ):  # torchvision hangs up when it has seen the address
                    super().copyfile(*files)

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        mirror = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(f"torchvision.datasets.{RELEASES[name].folder}.mirrors", [mirror])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=sorted(RELEASES))
def official(request):
    """The name and raw folder of real official files."""
    release = RELEASES[request.param]
    folder = Path(os.environ.get("MOEVAE_DATA", "")) / release.folder / "raw"
    files = [folder / f"{file.name}.gz" for file in (*release.images, *release.labels)]
    if "MOEVAE_DATA" not in os.environ or not all(file.is_file() for file in files):
        pytest.skip(f"MOEVAE_DATA names no folder with the gz files of {request.param}")
    return request.param, folder


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(10, 80),
    seed=st.integers(0, 2**40),
    held_out=st.none() | st.integers(0, 5),
    data=st.data(),
)
def test_splits_part_the_images_and_labels_stay_beside_them(tmp_path_factory, count, seed, held_out, data):
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
    """Golden; anew: numbers_of(load_images(numbered(folder, 20)).test), and of its .validation and .train."""
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
    [(np.zeros((9, 3, 5), np.uint8), (3, 5)), (np.ones((9, 16)), (4, 4)), (np.ones((9, 6)), (1, 6))],
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
    ("arrays", "complaint"),
    [
        ({"pictures": np.zeros((9, 4))}, "no array named images"),
        ({"images": np.zeros(9)}, "1 axes; right would be [N, H, W] or [N, D]"),
        ({"images": np.zeros((9, 2, 2, 1))}, "4 axes; right would be [N, H, W] or [N, D]"),
        ({"images": np.zeros((0, 4))}, "empty"),
        ({"images": np.full((9, 4), np.nan)}, "hold NaN"),
        ({"images": np.full((9, 4), np.inf)}, "range from inf to inf"),
        (
            {"images": np.full((9, 4), 255.0)},
            "range from 255 to 255; right would be uint8, or float in [0, 1]",
        ),
        ({"images": np.full((9, 4), -0.1)}, "range from -0.1"),
        ({"images": np.zeros((9, 4), np.int64)}, "dtype int64; right would be uint8, or float"),
        ({"images": np.full((9, 4), "x")}, "dtype <U1"),
        ({"images": np.full((9, 4), None)}, "Object arrays cannot be loaded"),
        ({"images": np.zeros((2, 4))}, "2 images cannot be split"),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path, arrays, complaint):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    message = message_of(DataConfig(name=f"npz:{path}"))
    assert complaint in message
    assert f"npz:{path}" in message


def test_npz_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    config = DataConfig(name=f"npz:{path}")
    assert "no such file" in message_of(config)
    np.savez(path, images=np.zeros((50, 50)))
    whole = path.read_bytes()
    for content in (b"", b"<html>\nno\n</html>", whole[: len(whole) // 2], whole[:300] + b"!!" + whole[302:]):
        path.write_bytes(content)
        assert "not a whole npz file" in message_of(config)
    with path.open("wb") as file:
        np.save(file, np.zeros((9, 4)))
    assert "one bare array" in message_of(config)
    assert "not a whole npz file" in message_of(DataConfig(name=f"npz:{tmp_path}"))


@pytest.mark.parametrize("labels", [np.zeros(8, int), np.zeros((9, 1), int), np.zeros(9)])
def test_labels_of_another_form_leave_the_images_usable(tmp_path, labels):
    np.savez(tmp_path / "own.npz", images=np.zeros((9, 4)), labels=labels)
    config = DataConfig(name=f"npz:{tmp_path / 'own.npz'}")
    assert len(load_images(config).test) == 1
    with pytest.raises(DataError, match=r"right would be \[9\], integers or strings"):
        load_labels(config)


def test_more_images_than_there_are_is_refused():
    assert message_of(DataConfig(train_size=1296)) == (
        "data.train_size = 1296: digits has 1295 training images beside 143 for validation and 359 for test"
    )
    assert len(load_images(DataConfig(train_size=1295)).train) == 1295
    assert "data.validation_size = 1438: digits has 1438" in message_of(DataConfig(validation_size=1438))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (gzip.compress(bytes(5000))[:20], "cut short or changed"),
        (gzip.compress(bytes(5000)), "cut short or changed"),
        (b"\n<!DOCTYPE html>\n<p>404</p>", "a web page, not a gzip file"),
        (b"", "not a gzip file"),
    ],
    ids=["truncated", "other", "page", "empty"],
)
def test_broken_gz_is_named_and_left_alone(raw, content, complaint):
    path = raw / f"{IMAGES}.gz"
    path.write_bytes(content)
    (raw / f"{TEST_IMAGES}.gz").touch()
    message = message_of(DataConfig(name="mnist"), raw.parents[1])
    fault = f"is not the official file (wrong md5, {complaint})"
    assert message == f"{path} {fault}: remove it and it is downloaded anew"
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("length", "complaint"), [(1000, "1000 bytes, not 47040016"), (47_040_016, "changed")]
)
def test_broken_extracted_file_is_named(raw, length, complaint):
    with (raw / IMAGES).open("wb") as file:
        file.truncate(length)
    (raw / TEST_IMAGES).touch()
    message = message_of(DataConfig(name="mnist"), raw.parents[1])
    assert f"{raw / IMAGES} is not the official file (wrong sha256, {complaint})" in message


def test_missing_files_without_a_network(tmp_path, offline, monkeypatch):
    config = DataConfig(name="fashion-mnist")
    monkeypatch.setenv("MOEVAE_DATA", str(tmp_path / "named"))
    message = message_of(config)
    assert f"no {IMAGES} in {tmp_path / 'named' / 'FashionMNIST' / 'raw'}" in message
    assert "no network" in message
    assert "--data-root or MOEVAE_DATA" in message
    assert str(tmp_path / "given") in message_of(config, tmp_path / "given")
    assert not list(tmp_path.rglob("*-ubyte*"))
    with pytest.raises(DataError, match="no train-images"):
        load_labels(config)


def test_root_is_argument_then_variable_then_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOEVAE_DATA", str(tmp_path))
    assert idx.data_root(Path("given")) == Path("given")
    assert idx.data_root() == tmp_path
    monkeypatch.delenv("MOEVAE_DATA")
    assert idx.data_root().name == "moevae"


def test_root_that_is_a_file_is_refused(tmp_path, offline):
    (tmp_path / "file").write_text("")
    message = message_of(DataConfig(name="mnist"), tmp_path / "file")
    assert f"cannot use {tmp_path / 'file' / 'MNIST' / 'raw'}" in message


def test_web_page_in_place_of_a_download(tmp_path, serve):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / f"{IMAGES}.gz").write_text("<html>please log in</html>")
    serve("mnist", pages)
    message = message_of(DataConfig(name="mnist"), tmp_path / "root")
    assert "the download failed (File not found or corrupted.)" in message
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".MNIST.lock"]


def test_digests_are_torchvisions():
    from torchvision import datasets

    for release in RELEASES.values():
        files = (*release.images, *release.labels)
        resources = getattr(datasets, release.folder).resources
        assert {(f"{file.name}.gz", file.md5) for file in files} == set(resources)


def test_official_files(official):
    name, folder = official
    config = DataConfig(name=name, train_size=100, validation_size=500)
    root = folder.parents[1]
    images, labels = load_images(config, root), load_labels(config, root)
    assert [len(split) for split in (images.train, images.validation, images.test)] == [100, 500, 10_000]
    assert (images.height, images.width, images.train.dtype) == (28, 28, torch.uint8)
    published = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530)}[name]
    gray = idx.read_images(name, root)[:60_000] / 255
    assert (gray.mean(), gray.std()) == pytest.approx(published, abs=1e-4)
    assert len(labels.classes) == 10
    first_test_labels = {"mnist": [7, 2, 1, 0, 4], "fashion-mnist": [9, 2, 1, 1, 6]}[name]
    assert labels.test[:5].tolist() == first_test_labels


def test_two_that_start_at_once_download_once_and_see_what_torchvision_sees(
    official, tmp_path, serve, monkeypatch
):
    from torchvision import datasets

    name, folder = official
    serve(name, folder)
    downloads = []
    download = idx._download
    monkeypatch.setattr(
        idx, "_download", lambda *arguments: (downloads.append(arguments), download(*arguments))
    )
    config = DataConfig(name=name, validation_size=0)
    loaded = []
    threads = [
        threading.Thread(target=lambda: loaded.append(load_images(config, tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 2
    assert len(downloads) == 1
    dataset = getattr(datasets, RELEASES[name].folder)
    test, train = (dataset(tmp_path, train=train, download=False) for train in (False, True))
    labels = load_labels(config, tmp_path)
    for images in loaded:
        assert torch.equal(images.test, test.data.flatten(1))
        assert images.train.sum() == train.data.sum()
    assert labels.test.tolist() == test.targets.tolist()
    first = (train.data.flatten(1) == loaded[0].train[0]).all(1).nonzero().item()
    assert train.targets[first] == labels.train[0]

    damaged = tmp_path / RELEASES[name].folder / "raw" / IMAGES
    with damaged.open("r+b") as file:
        file.truncate(40_000_000)
    assert "40000000 bytes, not 47040016" in message_of(config, tmp_path)
    damaged.unlink()
    assert load_images(config, tmp_path).sha256 == loaded[0].sha256


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
    np.savez(path, images=np.zeros((20, 2, 2), dtype=np.uint8))
    message = message_of(DataConfig(name=f"npz:{path}", imbalance=0.5))
    assert message.startswith("data.imbalance = 0.5: npz:")
    assert message.endswith("has no labels to tell its classes by; right would be 1")
