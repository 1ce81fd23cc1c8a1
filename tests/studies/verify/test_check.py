"""The checks of verify, and rebuilding of the storage."""

import errno
import io
import itertools
import json
import os
import sqlite3
from contextlib import closing

import pytest

from moevae.config import overrides
from moevae.errors import RecordError
from studies import __main__ as cli
from studies.cli import listing
from studies.design.baselines import BASELINES
from studies.execution.plan import design_of, make_plan
from studies.records import lock, schema, study_file
from studies.report.index import write_index
from studies.storage import connection as storage
from studies.storage.connection import StorageError
from studies.testing import synthetic
from studies.testing.toy_studies import Bench
from studies.verify import check, rebuild


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.run()
    return bench


def test_a_complete_study_has_no_problems(bench):
    report = check.verify(bench.folder)
    assert (report.planned, report.complete, report.failed, report.problems) == (12, 12, 0, ())
    assert report.compared


def test_a_study_without_a_storage_is_not_compared_with_one(bench, capsys):
    for path in bench.folder.glob("study.db*"):
        path.unlink()
    report = check.verify(bench.folder)
    assert (report.problems, report.compared) == ((), False)
    assert cli.main(["verify", "toy", "--json", "--results", str(bench.folder.parent)]) == 0
    assert json.loads(capsys.readouterr().out)["compared"] is False


def counts(folder):
    """How many runs `list`, `verify` and the index count: planned, complete."""
    (line,) = listing.studies(folder.parent)
    report = check.verify(folder)
    index = write_index(folder.parent, asked=True).read_text()
    complete = int([line for line in index.splitlines() if line.startswith("|")][-1].split("|")[5])
    assert (line.runs, line.complete) == (report.planned, report.complete)
    assert line.complete == complete
    return line, report


def test_runs_of_baselines_are_counted_everywhere_and_missed_where_one_is_deleted(tmp_path):
    plan = synthetic.plan(
        {"routing.kind": ["soft", "hard"]}, seeds=(0, 1, 2), baselines=["kmeans", "pca-gmm"]
    )
    folder = synthetic.write(tmp_path / "study", plan)
    fitted = []
    for key, seed in itertools.product(plan["baselines"], plan["seeds"]):
        config = overrides.override(overrides.from_dict(plan["base"]), {**plan["baseline"], "seed": seed})
        tree, _ = synthetic.baseline(config, BASELINES[key].method.name)
        method = BASELINES[key].method
        tree |= {"fingerprint": schema.name_of(config, method), "method": method.model_dump()}
        fitted.append(synthetic.put(folder, tree, {}))
    line, report = counts(folder)
    assert (line.cells, line.baselines, line.seeds, line.runs) == (2, 2, 3, 12)
    assert (report.complete, report.complete_baselines, report.problems) == (12, 6, ())
    assert line.state == "complete"
    fitted[4].unlink()
    line, report = counts(folder)
    assert (line.state, line.complete, report.complete_baselines) == ("incomplete", 11, 5)
    (problem,) = report.problems
    assert "seed 1" in problem
    assert BASELINES["pca-gmm"].method.name in problem


def test_the_design_is_restored_from_the_folder(bench):
    design, again = bench.design(), design_of(bench.folder)
    assert again.cells == design.cells
    assert again.to_dict() == design.to_dict()
    study_file.write(bench.folder, make_plan(again, bench.folder).full_design.to_dict())
    assert design_of(bench.folder) == again


def test_trials_that_disagree_are_named(bench):
    with storage.opened(storage.default_url(bench.folder)) as opened:
        study = opened.get_study_id_from_name("toy")
        first, second, *_ = opened.get_all_trials(study)
        opened.create_new_trial(study, first)
        second.value = 1.0
        opened.create_new_trial(study, second)
    problems = check.verify(bench.folder).problems
    assert sum("2 trials belong to one cell" in problem for problem in problems) == 2
    assert sum("trial 5 differs from the records" in problem for problem in problems) == 1
    assert rebuild.rebuild(bench.folder) == 4
    assert not check.verify(bench.folder).problems


def test_a_missing_record_is_reported_with_its_trial(bench):
    sorted((bench.folder / "records").glob("*.json"))[0].unlink()
    report = check.verify(bench.folder)
    assert report.complete == 11
    assert sum("differs from the records" in problem for problem in report.problems) == 1
    assert sum("no record refers to this file" in problem for problem in report.problems) == 1


def test_records_of_another_design_are_reported(bench, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    other_bench = Bench(other)
    other_bench.profile.write_text(
        other_bench.profile.read_text().replace("train.epochs = 2", "train.epochs = 3")
    )
    other_bench.run()
    for path in (other_bench.folder / "records").iterdir():
        path.rename(bench.folder / "records" / path.name)
    assert any("holds runs of another design" in problem for problem in check.verify(bench.folder).problems)


def test_a_rebuild_that_cannot_be_made_leaves_the_storage(bench, tmp_path):
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other")
    other.profile.write_text(other.profile.read_text().replace("train.epochs = 2", "train.epochs = 3"))
    other.run()
    for path in (other.folder / "records").iterdir():
        path.rename(bench.folder / "records" / path.name)
    before = (bench.folder / "study.db").read_bytes()
    with pytest.raises(RecordError, match="another design"):
        rebuild.rebuild(bench.folder)
    assert (bench.folder / "study.db").read_bytes() == before


def test_a_study_at_work_is_not_compared(bench):
    with lock.hold(bench.folder):
        (bench.folder / "records" / "a-picture-before-its-record.png").write_bytes(b"")
        report = check.verify(bench.folder)
        assert report.problems == ()
        (note,) = report.notes
        assert "is working on this study" in note
        assert cli.main(["verify", str(bench.folder)]) == 0
        with pytest.raises(lock.StudyLockedError):
            rebuild.rebuild(bench.folder)


def test_a_rebuild_leaves_copies_of_the_storage(bench):
    mine = [bench.folder / name for name in ("study.db.bak", "study.db-2024", "study.db.sqlite")]
    for path in mine:
        path.write_text("mine")
    (bench.folder / "study.db").write_bytes(b"broken")
    assert rebuild.rebuild(bench.folder) == 4
    assert all(path.read_text() == "mine" for path in mine)


@pytest.mark.parametrize("version", ["v9.9.9.a", "v2.6.0.a"], ids=["newer", "older"])
def test_a_storage_of_another_schema_is_reported_and_rebuilt(bench, capsys, version):
    with closing(sqlite3.connect(bench.folder / "study.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = ?", [version])
    command = ["verify", str(bench.folder)]
    assert cli.main(command) == 1
    assert "rebuild-storage" in capsys.readouterr().out
    with pytest.raises(StorageError, match="rebuild-storage"):
        bench.run()
    assert cli.main(["rebuild-storage", str(bench.folder)]) == 0
    assert cli.main(command) == 0


def test_reading_a_study_writes_nothing(bench):
    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in bench.folder.rglob("*")}

    before = state()
    assert cli.main(["verify", str(bench.folder)]) == 0
    assert cli.main(["list", "--results", str(bench.folder.parent)]) == 0
    assert state() == before


def test_a_folder_that_can_only_be_read_is_listed_and_verified(bench, monkeypatch, capsys):
    """Opening a file for writing fails, as on a read-only file system."""
    real = os.open

    def only_read(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(bench.folder)):
            raise PermissionError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", only_read)
    (bench.folder / "driver.lock").touch()
    results = ["--results", str(bench.folder.parent)]
    assert cli.main(["list", *results]) == 0
    assert "toy: complete, 12 of 12 runs" in capsys.readouterr().out
    assert cli.main(["verify", "toy", *results]) == 0


def test_a_driver_is_seen_in_a_folder_that_can_only_be_read(bench, monkeypatch):
    def only_read(real):
        def opening(path, mode="r", *rest, **more):
            writes = mode & (os.O_WRONLY | os.O_RDWR) if isinstance(mode, int) else set(mode) & set("wax+")
            if writes and str(path).startswith(str(bench.folder)):
                raise PermissionError(errno.EROFS, "Read-only file system", str(path))
            return real(path, mode, *rest, **more)

        return opening

    with lock.hold(bench.folder), monkeypatch.context() as changes:
        for module in (os, io):
            changes.setattr(module, "open", only_read(module.open))
        (line,) = listing.studies(bench.folder.parent)
        assert (line.state, line.complete) == ("running", 12)
        assert str(os.getpid()) in line.note
        assert str(os.getpid()) in check.verify(bench.folder).notes[0]


def test_a_study_that_cannot_be_read_does_not_hide_others(bench, monkeypatch, capsys):
    other = bench.folder.parent / "a-other"
    other.mkdir()
    (other / "study.json").write_text("{}")

    def refuse(folder):
        if folder == other:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder / "study.json"))
        return real(folder)

    real = study_file.read
    monkeypatch.setattr(study_file, "read", refuse)
    assert cli.main(["list", "--results", str(bench.folder.parent)]) == 0
    output = capsys.readouterr().out
    assert "a-other: broken" in output
    assert "toy: complete" in output


def test_a_shared_storage_is_rebuilt_for_its_own_study_only(bench, tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    (problem,) = check.verify(bench.folder, url).problems
    assert "'toy'" in problem
    assert rebuild.rebuild(bench.folder, url) == 4
    assert rebuild.rebuild(bench.folder, url) == 4
    assert not check.verify(bench.folder, url).problems
    moved = bench.folder.rename(tmp_path / "moved")
    assert rebuild.rebuild(moved, url) == 4
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other")
    other.run()
    with pytest.raises(StorageError, match=r"'toy'.*--name"):
        rebuild.rebuild(other.folder, url)
    assert not check.verify(moved, url).problems
    assert rebuild.rebuild(moved) == 4
    assert not check.verify(moved).problems


def test_a_folder_without_a_study_is_reported(tmp_path):
    with pytest.raises(RecordError, match=r"study\.json"):
        check.verify(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "toy"}')
    with pytest.raises(RecordError, match="schema"):
        rebuild.rebuild(tmp_path)


def test_verify_and_rebuild_storage_count_runs_and_trials(bench, capsys):
    results = ["--results", str(bench.folder.parent)]
    assert cli.main(["verify", "toy", *results]) == 0
    assert "12 of 12 runs" in capsys.readouterr().out
    (bench.folder / "records" / "0123456789abcdef.json").write_text("{")
    assert cli.main(["verify", "toy", "--json", *results]) == 1
    assert "0123456789abcdef.json" in capsys.readouterr().out
    assert cli.main(["rebuild-storage", "toy", *results]) == 0
    assert "4 trials" in capsys.readouterr().out
