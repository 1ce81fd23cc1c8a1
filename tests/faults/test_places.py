"""A pipe, a device, a folder or broken content in the place of a file that a study reads."""

import os

import pytest

from moevae.config.schema import RunConfig
from moevae.errors import CheckpointError, ConfigError, RecordError
from moevae.training import snapshot_files, snapshots
from moevae.utils import io
from studies.records import lock, study_file, weights
from studies.report import cache, manifest
from studies.report.build import write_report
from studies.storage import connection
from studies.storage.connection import StorageError
from studies.testing import synthetic

pytestmark = pytest.mark.timeout(120)  # reading a pipe that nobody writes to has no end

DEEP = b"[" * 100_000

PLACES = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a folder": lambda path: path.mkdir(),
    "deep JSON": lambda path: path.write_bytes(DEEP),
    "a list": lambda path: path.write_bytes(b"[1]"),
    "noise": lambda path: path.write_bytes(b"\xff\x00" * 1000),
}


@pytest.fixture(params=PLACES)
def put(request):
    """Put something else in the place of a file."""
    return PLACES[request.param]


def test_a_lock_must_be_a_regular_file(tmp_path, put):
    put(tmp_path / "driver.lock")
    assert lock.holder(tmp_path) is None


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_is_a_link_is_refused_and_its_target_left(tmp_path, there):
    target = tmp_path / "notes.txt"
    if there:
        target.write_text("notes")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "driver.lock").symlink_to(target)
    with pytest.raises(ConfigError, match=r"driver\.lock"), lock.hold(tmp_path / "study"):
        pass
    assert target.exists() == there
    assert not there or target.read_text() == "notes"


def test_a_storage_that_is_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "study.db").symlink_to("study.db")
    with pytest.raises(StorageError), connection.opened(connection.default_url(tmp_path)):
        pass


@pytest.mark.parametrize("place", ["a link to itself", "noise", "a pipe"])
def test_records_that_are_no_folder_are_refused_before_a_study_begins(tmp_path, place):
    PLACES[place](tmp_path / "records")
    with pytest.raises(ConfigError, match="records"), lock.hold(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    with pytest.raises(NotADirectoryError) as caught:
        io.write_atomically(tmp_path / "records" / "a.json", b"{}")
    assert caught.value.filename == str(tmp_path / "records" / "a.json")


def test_removal_of_temporary_files_ignores_other_kinds_of_files(tmp_path, put):
    place = tmp_path / f".{'a' * 16}.moevae.tmp"
    put(place)
    is_file = place.is_file()
    io.remove_temp_files(tmp_path)
    assert os.path.lexists(place) != is_file


def test_a_manifest_of_a_report_is_refused(tmp_path, put):
    place = tmp_path / manifest.NAME
    put(place)
    if place.exists():  # a link to itself counts as missing
        with pytest.raises(RecordError, match=manifest.NAME):
            manifest.read(tmp_path)
    else:
        assert manifest.read(tmp_path).files == {}


def test_a_table_of_runs_that_is_no_csv_is_not_replaced(tmp_path, undrawn):
    """Such a table is the user's, since no report wrote it."""
    plan = synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=[0])
    folder = synthetic.write(tmp_path / "s", plan, lambda config: synthetic.record(config, pictures=False))
    write_report(folder)
    (folder / "tables" / "runs.csv").write_bytes(b"status\n" + b"x" * 200_000)
    with pytest.raises(RecordError, match=r"runs\.csv: changed"):
        write_report(folder)


def test_a_cache_that_cannot_be_read_is_empty(tmp_path, put, monkeypatch):
    place = tmp_path / "cache"
    put(place)
    monkeypatch.setattr(cache, "_file", lambda folder: place)
    assert cache.recall(tmp_path, "page", "inputs") is None
    cache.note(tmp_path, "page", "inputs", "value")
    assert cache.recall(tmp_path, "page", "inputs") == (None if place.is_dir() else "value")


def test_weights_that_are_no_file_are_not_the_study_s(tmp_path, put):
    put(tmp_path / "run.safetensors")
    assert not weights._own(tmp_path / "run.safetensors", {"sha256": "0" * 64})


def test_a_description_that_is_no_json_is_not_replaced(tmp_path, put):
    place = tmp_path / study_file.NAME
    put(place)
    if place.exists() and not place.is_file():
        with pytest.raises(RecordError, match="cannot be read"):
            study_file.write(tmp_path, synthetic.plan())
        assert not place.is_file()


@pytest.fixture
def configs():
    return [RunConfig()]


ORIGIN = {"images": "a", "source code": "b"}


@pytest.mark.parametrize("wrong", [None, [], 3, "x", [1], {"images": 3}, {"images": ["a"]}, {"images": None}])
def test_a_snapshot_whose_origin_is_no_table_of_texts_is_refused(tmp_path, configs, wrong):
    path = snapshot_files.snapshot_path(tmp_path, configs, ORIGIN)
    snapshot_files.write(path, configs, {}, {}, wrong)
    with pytest.raises(CheckpointError, match=path.name):
        snapshot_files.read(path, configs, ORIGIN)
    other = snapshot_files.snapshot_path(tmp_path, configs, ORIGIN | {"images": "c"})
    with pytest.warns(UserWarning, match=path.name):
        snapshots._warn_about_others(other, configs, ORIGIN)


def test_other_files_next_to_a_snapshot_are_reported(tmp_path, configs, put):
    path = snapshot_files.snapshot_path(tmp_path, configs, ORIGIN)
    put(path.with_name(f"{path.name.partition('-')[0]}-x.snapshot"))
    with pytest.warns(UserWarning, match="another version"):
        snapshots._warn_about_others(path, configs, ORIGIN)
    snapshot_files.remove(tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 1
