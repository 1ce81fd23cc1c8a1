"""What verify finds, and what rebuild-storage brings back."""

import pytest
from test_engine import Bench

from moevae.errors import RecordError
from studies import __main__ as cli
from studies import ledger, locks, storage, upkeep
from studies.storage import StorageError


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.run()
    return bench


def test_a_whole_study_has_no_problems(bench):
    verdict = upkeep.verify(bench.folder)
    assert (verdict.planned, verdict.complete, verdict.failed, verdict.problems) == (12, 12, 0, ())


def test_the_design_comes_back_from_the_folder(bench):
    design, again = bench.design(), upkeep.design_of(bench.folder)
    assert again.cells == design.cells
    assert again.to_dict() == design.to_dict()
    ledger.write_study(ledger.survey(again, bench.folder), bench.folder)
    assert upkeep.design_of(bench.folder) == again


def test_trials_that_disagree_are_named(bench):
    with storage.opened(storage.default_url(bench.folder)) as opened:
        study = opened.get_study_id_from_name("toy")
        first, second, *_ = opened.get_all_trials(study)
        opened.create_new_trial(study, first)
        second.value = 1.0
        opened.create_new_trial(study, second)
    problems = upkeep.verify(bench.folder).problems
    assert sum("2 trials of one cell" in problem for problem in problems) == 2
    assert sum("trial 5 does not say what the records" in problem for problem in problems) == 1
    assert upkeep.rebuild(bench.folder) == 4
    assert not upkeep.verify(bench.folder).problems


def test_a_record_that_is_gone_is_missed_by_its_trial(bench):
    sorted((bench.folder / "records").glob("*.json"))[0].unlink()
    verdict = upkeep.verify(bench.folder)
    assert verdict.complete == 11
    assert sum("does not say what the records" in problem for problem in verdict.problems) == 1
    assert sum("no record mentions it" in problem for problem in verdict.problems) == 1


def test_records_of_another_design_are_told(bench, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    stranger = Bench(other)
    stranger.profile.write_text(stranger.profile.read_text().replace("train.epochs = 2", "train.epochs = 3"))
    stranger.run()
    for path in (stranger.folder / "records").iterdir():
        path.rename(bench.folder / "records" / path.name)
    assert any("holds runs of another design" in problem for problem in upkeep.verify(bench.folder).problems)


def test_a_study_at_work_is_not_compared(bench):
    with locks.hold(bench.folder):
        (problem,) = upkeep.verify(bench.folder).problems
        assert "works on this study" in problem
        with pytest.raises(locks.StudyLockedError):
            upkeep.rebuild(bench.folder)


def test_a_shared_storage_is_rebuilt_for_its_own_study_only(bench, tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    assert upkeep.verify(bench.folder, url).problems == ("the storage has no study 'toy'",)
    assert upkeep.rebuild(bench.folder, url) == 4
    assert upkeep.rebuild(bench.folder, url) == 4
    assert not upkeep.verify(bench.folder, url).problems
    moved = bench.folder.rename(tmp_path / "moved")
    assert upkeep.rebuild(moved, url) == 4
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other")
    other.run()
    with pytest.raises(StorageError, match="work in that folder"):
        upkeep.rebuild(other.folder, url)
    assert not upkeep.verify(moved, url).problems
    assert upkeep.rebuild(moved) == 4
    assert not upkeep.verify(moved).problems


def test_no_study_is_told(tmp_path):
    with pytest.raises(RecordError, match="no study here"):
        upkeep.verify(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "toy"}')
    with pytest.raises(RecordError, match="lacks 'base'"):
        upkeep.rebuild(tmp_path)


def test_the_commands(bench, capsys):
    results = ["--results", str(bench.folder.parent)]
    assert cli.main(["verify", "toy", *results]) == 0
    assert "12 of 12 runs complete; all records and the storage agree" in capsys.readouterr().out
    (bench.folder / "records" / "0123456789abcdef.json").write_text("{")
    assert cli.main(["verify", "toy", "--json", *results]) == 1
    assert "0123456789abcdef.json" in capsys.readouterr().out
    assert cli.main(["rebuild-storage", "toy", *results]) == 0
    assert "4 trials" in capsys.readouterr().out
