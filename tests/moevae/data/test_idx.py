"""Official files agree with torchvision; errors name broken ones; missing ones are downloaded once."""

import contextlib
import gzip
import http.server
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from refusals import message_of

from moevae.config.registry import RELEASES
from moevae.config.schema import DataConfig
from moevae.data import idx
from moevae.data.datasets import load_images, load_labels
from moevae.errors import DataError

IMAGES, TEST_IMAGES = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


@pytest.fixture
def offline(monkeypatch):
    """A machine without a network."""

    def refuse(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def raw(tmp_path, offline):
    """An empty folder for MNIST's files; the data root is two levels up."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def serve(monkeypatch):
    """Let torchvision download from a local folder."""
    from torchvision import datasets

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
        monkeypatch.setattr(getattr(datasets, RELEASES[name].folder), "mirrors", [mirror])

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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(bytes(5000))[:20], "truncated or modified"),
        (gzip.compress(bytes(5000)), "truncated or modified"),
        (b"\n<!DOCTYPE html>\n<p>404</p>", "an HTML page, not a gzip file"),
        (b"", "not a gzip file"),
    ],
    ids=["truncated", "other", "page", "empty"],
)
def test_broken_gz_is_named_and_left_alone(raw, content, reason):
    path = raw / f"{IMAGES}.gz"
    path.write_bytes(content)
    (raw / f"{TEST_IMAGES}.gz").touch()
    message = message_of(DataConfig(name="mnist"), raw.parents[1])
    fault = f"is not the official file (wrong md5, {reason})"
    assert message == f"{path} {fault}; delete it to download it again"
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("length", "reason"), [(1000, "1000 bytes; expected 47040016"), (47_040_016, "modified")]
)
def test_broken_extracted_file_is_named(raw, length, reason):
    with (raw / IMAGES).open("wb") as file:
        file.truncate(length)
    (raw / TEST_IMAGES).touch()
    message = message_of(DataConfig(name="mnist"), raw.parents[1])
    assert f"{raw / IMAGES} is not the official file (wrong sha256, {reason})" in message


def test_missing_files_without_a_network(tmp_path, offline, monkeypatch):
    config = DataConfig(name="fashion-mnist")
    monkeypatch.setenv("MOEVAE_DATA", str(tmp_path / "named"))
    message = message_of(config)
    assert f"{IMAGES} is not in {tmp_path / 'named' / 'FashionMNIST' / 'raw'}" in message
    assert "no network" in message
    assert "--data-root or MOEVAE_DATA" in message
    assert str(tmp_path / "given") in message_of(config, tmp_path / "given")
    assert not list(tmp_path.rglob("*-ubyte*"))
    with pytest.raises(DataError, match=IMAGES):
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
    assert f"cannot read {tmp_path / 'file' / 'MNIST' / 'raw'}" in message


def test_a_web_page_in_place_of_a_download_is_refused(tmp_path, serve, caplog):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / f"{IMAGES}.gz").write_text("<html>please log in</html>")
    serve("mnist", pages)
    message = message_of(DataConfig(name="mnist"), tmp_path / "root")
    assert "the download failed (File not found or corrupted.)" in message
    assert not (tmp_path / "root").exists()
    (logged,) = [record.getMessage() for record in caplog.records if record.name == "moevae.data.idx"]
    assert logged == f"data set mnist: downloading its files into {tmp_path / 'root' / 'MNIST' / 'raw'}"


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


def test_two_processes_download_once_and_read_what_torchvision_reads(official, tmp_path, serve, monkeypatch):
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
    assert "40000000 bytes; expected 47040016" in message_of(config, tmp_path)
    damaged.unlink()
    assert load_images(config, tmp_path).sha256 == loaded[0].sha256
