"""A study survives failures of its storage, which is synchronized with the records."""

import logging
import random
import sqlite3
import time

import pytest
from databases import postgres

from studies.storage import bulk_insert
from studies.storage import connection as storage
from studies.storage.bulk_insert import Rows
from studies.storage.connection import StorageError
from studies.testing.toy_studies import PATIENCE, ToyStudy, storm, wait_until
from studies.verify import check, rebuild


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("cells", "crashes"),
    [pytest.param(12, 1, marks=pytest.mark.slow), pytest.param(150, 10, marks=pytest.mark.faults)],
)
def test_a_server_that_crashes_under_load_loses_nothing(tmp_path, reliability, cells, crashes):
    chance = random.Random(0)
    with postgres() as server:
        study = ToyStudy(tmp_path, cells, url=server.url)
        with study.driver(workers=2, seconds=0.5) as driver:
            for crash in range(crashes):
                done = cells * (crash + 1) // (crashes + 2)
                wait_until(lambda done=done: study.published() >= done)
                time.sleep(chance.uniform(0, 0.5))
                assert driver.poll() is None, f"done before crash {crash + 1}"
                server.crash()
            assert driver.wait(PATIENCE) == 0
        study.assert_complete_once()
        assert set(study.toy.counts().values()) == {1}
    retries = (tmp_path / "driver.log").read_text().count("the storage is not available")
    reliability(
        "database",
        f"{crashes} crash restarts of PostgreSQL while {cells} toy cells run",
        f"each of {cells} completed once; {retries} operations retried",
        sized=True,
    )


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_storm_of_kills_over_postgresql(tmp_path, reliability):
    with postgres() as server:
        study = ToyStudy(tmp_path, 120, url=server.url)
        killed, drivers = storm(study, worker_kills=60, driver_kills=20, seed=2)
        study.assert_complete_once()
    reliability(
        "kill storm",
        f"120 toy cells of 0.25 s, 4 workers, PostgreSQL: kill -9 of {killed} workers and {drivers} drivers",
        "each of 120 completed once, with the values of an undisturbed run",
    )


def test_a_server_that_does_not_answer_ends_the_study_in_one_line_and_keeps_its_runs(
    tmp_path, monkeypatch, caplog
):
    """The storage fails after three cells: running ones are published, the next start does the rest."""
    study = ToyStudy(tmp_path, 6)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.5)
    finished, put = [], Rows.put

    def broken(self, number, trial):
        finished.append(number)
        if len(finished) > 3:
            raise sqlite3.OperationalError("disk I/O error")
        put(self, number, trial)

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(bulk_insert.Rows, "put", broken)
        patch.setattr(storage, "SQLAlchemyError", sqlite3.Error)
        with pytest.raises(StorageError, match="disk I/O error"):
            study.run()
    assert study.published() == 4
    assert len(study.run().trained) == 2
    study.assert_complete_once()


def test_a_study_deleted_in_the_dashboard_meanwhile_is_restored(tmp_path):
    study = ToyStudy(tmp_path, 4)

    class Deleting(type(study.toy)):
        def __call__(self, configs, /, *, on_event):
            made = super().__call__(configs, on_event=on_event)
            with storage.opened(storage.default_url(study.folder)) as opened:
                opened.delete_study(opened.get_study_id_from_name("toy"))
            return made

    study.toy = Deleting(study.toy.run_log)
    with pytest.raises(StorageError, match=r"missing from the storage.*no record is lost"):
        study.run()
    assert study.published() == 1
    study.toy = ToyStudy(tmp_path, 4).toy
    assert len(study.run().trained) == 3
    study.assert_complete_once()


def test_a_broken_storage_file_is_reported_and_rebuilt(tmp_path):
    study = ToyStudy(tmp_path, 3)
    study.run()
    path = study.folder / "study.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="rebuild-storage"):
        study.run()
    assert any("rebuild-storage" in problem for problem in check.verify(study.folder).problems)
    assert rebuild.rebuild(study.folder) == 3
    assert not check.verify(study.folder).problems
    study.assert_complete_once()
