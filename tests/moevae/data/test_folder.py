"""A folder of images as a data set: order, labels, sizes, and files that are no images."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from moevae.config.overrides import fingerprint
from moevae.config.schema import DataConfig, RunConfig
from moevae.data import folder, pictures
from moevae.data.datasets import load_images, load_labels
from moevae.errors import DataError

GRAY = np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)


@pytest.fixture
def scans(tmp_path):
    """Twelve images in three subfolders, saved in another order than that of their names."""
    root = tmp_path / "scans"
    for number in reversed(range(12)):
        (root / "abc"[number // 4]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(GRAY[number]).save(root / "abc"[number // 4] / f"{number:02}.png")
    return root


def data(root, **changes):
    return DataConfig(name=f"folder:{root}", **changes)


def test_a_folder_and_an_npz_file_of_the_same_images_are_the_same_data(scans, tmp_path):
    np.savez(tmp_path / "own.npz", images=GRAY, labels=np.repeat(["a", "b", "c"], 4))
    own, other = DataConfig(name=f"npz:{tmp_path / 'own.npz'}"), data(scans)
    images, expected = load_images(other), load_images(own)
    assert (images.sha256, images.size) == (expected.sha256, expected.size)
    assert torch.equal(images.train, expected.train)
    labels, folder_labels = load_labels(other), load_labels(own)
    assert (labels.classes, labels.sha256) == (folder_labels.classes, folder_labels.sha256)
    np.testing.assert_array_equal(labels.test, folder_labels.test)


def test_images_outside_of_subfolders_have_no_labels(scans):
    Image.fromarray(GRAY[0]).save(scans / "d.png")
    assert load_labels(data(scans)) is None
    assert len(folder.read(scans, None, "refuse").files) == 13


def test_files_without_the_suffix_of_an_image_are_ignored(scans):
    before = load_images(data(scans)).sha256
    (scans / "notes.txt").write_text("x")
    (scans / "a" / ".hidden.png").write_text("x")
    (scans / ".thumbnails").mkdir()
    (scans / ".thumbnails" / "0.png").write_text("x")
    (scans / "empty").mkdir()
    assert load_images(data(scans)).sha256 == before
    assert load_labels(data(scans)).classes == ("a", "b", "c")


def test_sizes_must_agree_or_be_given(scans):
    Image.fromarray(GRAY[0].T).save(scans / "a" / "turned.png")
    with pytest.raises(DataError, match=r"6 x 5 pixels, a/turned.png 5 x 6.*image_size"):
        load_images(data(scans))
    assert load_images(data(scans, image_size=4)).size == (4, 4)
    assert load_images(data(scans, image_size=(4, 3))).size == (4, 3)
    first = folder.read(scans, (4, 3), "refuse").images[0]
    np.testing.assert_array_equal(first, pictures.resized(GRAY[0], (4, 3)))


def test_bad_images_are_refused_or_skipped_by_name(scans):
    clean = load_images(data(scans)).sha256
    for name in ("a/broken.png", "b/1.jpg", "c/2.tif"):
        (scans / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"3 images \(a/broken.png \(.*b/1.jpg.*c/2.tif.*\) of 15"):
        load_images(data(scans))
    with pytest.warns(UserWarning, match=r"skipped 3 images \(a/broken.png"):
        images = load_images(data(scans, bad_images="skip"))
    assert images.sha256 == clean
    assert load_labels(data(scans, bad_images="skip")).sha256 == load_labels_of_clean(scans)


def load_labels_of_clean(scans):
    for name in ("a/broken.png", "b/1.jpg", "c/2.tif"):
        (scans / name).unlink()
    return load_labels(data(scans)).sha256


@pytest.mark.parametrize("many", [1, 1000])
def test_a_message_names_few(many, tmp_path):
    for number in range(many):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        folder.read(tmp_path, None, "skip")
    assert len(str(caught.value)) < 1000
    assert "0.png" in str(caught.value)


def test_links_within_the_folder_are_images_and_links_out_of_it_are_not(scans, tmp_path):
    (scans / "a" / "again.png").symlink_to("00.png")
    assert len(folder.read(scans, None, "refuse").files) == 13
    (tmp_path / "other").mkdir()
    Image.fromarray(GRAY[0]).save(tmp_path / "other" / "secret.png")
    (scans / "a" / "secret.png").symlink_to(tmp_path / "other" / "secret.png")
    (scans / "elsewhere").symlink_to(tmp_path / "other")
    (scans / "loop").symlink_to(scans)
    with pytest.raises(DataError, match=r"2 images \(a/secret.png \(a link.*elsewhere \(a link"):
        folder.read(scans, None, "refuse")
    assert len(folder.read(scans, None, "skip").files) == 13


def test_a_pipe_is_refused_without_reading(scans):
    os.mkfifo(scans / "a" / "pipe.png")
    with pytest.raises(DataError, match=r"a/pipe\.png"):
        folder.read(scans, None, "refuse")


def test_a_file_that_changes_is_read_again(scans):
    before = load_images(data(scans)).sha256
    os.utime(scans / "a" / "00.png", ns=(1, 1))
    assert load_images(data(scans)).sha256 == before
    Image.fromarray(255 - GRAY[0]).save(scans / "a" / "00.png")
    assert load_images(data(scans)).sha256 != before


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path / "absent")):
        load_images(data(tmp_path / "absent"))
    with pytest.raises(DataError, match=rf"{tmp_path}: .*\.png"):
        load_images(data(tmp_path))


def test_size_and_bad_images_are_part_of_a_run_and_rename_no_earlier_run():
    base = RunConfig()
    kinds = {fingerprint(RunConfig(data=DataConfig(image_size=size))) for size in (None, 8, (8, 9))}
    assert len(kinds) == 3
    assert fingerprint(base) in kinds
