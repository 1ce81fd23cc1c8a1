"""Ownership of a study in a shared storage is by its identity, not by machine or folder."""

import json
import platform
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from studies.records import study_file
from studies.search import search as searches
from studies.storage import connection as storage
from studies.storage import ownership
from studies.storage.connection import StorageError
from studies.storage.ownership import OwnedError
from studies.testing.toy_searches import FAST, Climb, go
from studies.testing.toy_studies import Bench
from studies.verify import check, rebuild


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(params=["sqlite", "journal"])
def url(request, tmp_path):
    return f"{request.param}:///{tmp_path}/shared.store"


def moved(bench: Bench, root: Path) -> Bench:
    """The same study in another place."""
    root.mkdir()
    other = Bench(root)
    shutil.copytree(bench.folder, other.folder)
    return other


def test_a_study_continues_from_another_machine_and_another_place(bench, url, tmp_path, monkeypatch):
    bench.run(storage_url=url)
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    other = moved(bench, tmp_path / "mnt")
    assert len(other.run(storage_url=url, design=other.design(seeds="4")).trained) == 4
    assert [trial.user_attrs["n"] for trial in other.trials(url)] == [4] * 4
    assert rebuild.rebuild(other.folder, url) == 4
    assert not check.verify(other.folder, url).problems


def test_a_search_continues_from_another_machine(tmp_path, url, monkeypatch):
    (tmp_path / "run_log").mkdir()
    climb, search = Climb(tmp_path / "run_log"), searches.load_search("gate", **FAST)
    go(search, tmp_path / "s", climb, trials=2, storage_url=url)
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    shutil.copytree(tmp_path / "s", tmp_path / "t")
    assert len(go(search, tmp_path / "t", climb, trials=4, storage_url=url).trials) == 4


def test_another_study_of_that_name_is_refused_and_nothing_is_left(bench, url, tmp_path):
    bench.run(storage_url=url)
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other")
    with pytest.raises(OwnedError, match="--name"):
        other.run(storage_url=url)
    assert not other.folder.parent.exists()


def test_a_refused_search_leaves_nothing(tmp_path, url):
    (tmp_path / "run_log").mkdir()
    climb, search = Climb(tmp_path / "run_log"), searches.load_search("gate", **FAST)
    go(search, tmp_path / "s", climb, trials=1, storage_url=url)
    with pytest.raises(OwnedError, match="--name"):
        go(search, tmp_path / "t", climb, trials=1, storage_url=url)
    assert not (tmp_path / "t").exists()


def test_a_driver_that_loses_a_race_writes_nothing(bench, url, tmp_path, monkeypatch):
    """The other driver creates its study after this one has checked the storage."""
    (tmp_path / "other").mkdir()
    other, real, calls = Bench(tmp_path / "other"), ownership.check, []

    def late(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            monkeypatch.setattr(ownership, "check", real)
            bench.run(storage_url=url)
        else:
            real(*arguments)

    monkeypatch.setattr(ownership, "check", late)
    with pytest.raises(OwnedError):
        other.run(storage_url=url)
    assert calls
    assert not other.folder.parent.exists()


def test_a_study_of_another_program_is_left_alone(bench, url):
    import optuna

    with storage.opened(url) as opened:
        foreign = optuna.create_study(storage=opened, study_name="toy")
        foreign.set_user_attr("mine", 1)
    with pytest.raises(OwnedError, match=r"'toy'.*--name"):
        bench.run(storage_url=url)
    with storage.opened(url) as opened:
        assert optuna.load_study(storage=opened, study_name="toy").user_attrs == {"mine": 1}


def test_a_study_without_an_identity_is_identified_by_its_path(bench, url):
    bench.run(storage_url=url)
    path = bench.folder / "study.json"
    tree = json.loads(path.read_text())
    del tree["identity"]
    path.write_text(json.dumps(tree))
    with storage.opened(url) as opened:
        number = opened.get_study_id_from_name("toy")
        opened.set_study_user_attr(number, "identity", None)
    assert not bench.run(storage_url=url).trained
    assert len(study_file.read(bench.folder).identity) == 32


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("call", [1, 2, 3])
def test_killed_before_its_owner_is_named_a_study_continues(bench, url, monkeypatch, call):
    from studies.testing.toy_studies import die, in_child

    kinds = [kind for kind in _kinds(BaseStorage) if "set_study_user_attr" in vars(kind)]
    calls = []

    def deadly(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            die()
        return real[type(arguments[0])](*arguments)

    real = {kind: kind.set_study_user_attr for kind in kinds}
    with monkeypatch.context() as patch:
        for kind in kinds:
            patch.setattr(kind, "set_study_user_attr", deadly)
        patch.setattr(ownership, "_CLAIM_SECONDS", 0.01)
        assert in_child(lambda: bench.run(storage_url=url)) == -9
    monkeypatch.setattr(ownership, "_CLAIM_SECONDS", 0.01)
    assert len(bench.run(storage_url=url).trained) == 12
    assert len(bench.trials(url)) == 4


def _kinds(kind):
    return [kind, *(each for child in kind.__subclasses__() for each in _kinds(child))]


@pytest.mark.parametrize("revision", ["v3.0.0.a", "v99.0.0.a"], ids=["older", "newer"])
def test_a_storage_of_another_version_of_optuna_is_reported_and_rebuilt(bench, revision):
    bench.run()
    with sqlite3.connect(bench.folder / "study.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()
    with pytest.raises(StorageError, match=r"optuna .*rebuild-storage") as caught:
        bench.run()
    assert "\n" not in str(caught.value)
    assert any("rebuild-storage" in problem for problem in check.verify(bench.folder).problems)
    assert rebuild.rebuild(bench.folder) == 4
    assert not bench.run().trained


def test_an_invalid_journal_is_one_line(bench, tmp_path):
    (tmp_path / "broken.store").write_text("no journal\n" * 3)
    with pytest.raises(StorageError) as caught:
        bench.run(storage_url=f"journal:///{tmp_path}/broken.store")
    assert "\n" not in str(caught.value)
    assert not bench.folder.exists()
