"""Trials written straight into the tables are what Optuna itself would have written."""

import optuna
import pytest
from optuna.study import StudyDirection

from studies.design import design as designs
from studies.storage import bulk_insert, mirror
from studies.storage import connection as storage
from studies.storage.study_sync import Trials
from studies.testing.toys import PROFILE, outcome


@pytest.fixture
def design(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(PROFILE.replace("[0.5, 1]", "[0.5, 1]\nmodel.expert_hidden = [[16], [32, 32]]"))
    return designs.load_design(str(path))


@pytest.fixture
def recorded(design):
    """Of the cells: the first has two seeds, the second one that failed, the third none, the rest all."""
    seeds = {0: (0, 1), 1: (0,), 2: ()}
    return {
        cell.key: [
            outcome(cell.run(seed), failed=number == 1).record for seed in seeds.get(number, (0, 1, 2))
        ]
        for number, cell in enumerate(design.cells)
    }


def contents(url: str):
    """All that Optuna says of each trial, but for when."""
    with storage.opened(url) as opened:
        trials = optuna.load_study(study_name="toy", storage=opened).get_trials()
    for trial in trials:
        assert (trial.datetime_complete is not None) == trial.state.is_finished()
    names = ("number", "state", "values", "params", "distributions", "user_attrs", "intermediate_values")
    return [{name: getattr(trial, name) for name in names} for trial in trials]


def life(design, recorded, folder) -> str:
    """Reconcile, take up cells, end them, add seeds; return the storage's URL."""
    url = storage.default_url(folder)
    pending = [cell.key for cell in design.cells[:3]]
    with storage.opened(url) as opened:
        trials = Trials(opened, design, folder)
        trials.reconcile(recorded, pending)
        for cell in design.cells[:2]:
            trials.start(cell)
        trials.finish(design.cells[0], recorded[design.cells[0].key])
        trials.release(design.cells[1])
        again = Trials(opened, design, folder)
        again.reconcile(recorded, pending[1:])
        again.start(design.cells[1])
        again.finish(design.cells[1], recorded[design.cells[1].key])
    return url


def test_trials_are_what_optuna_would_have_written(design, recorded, tmp_path, monkeypatch):
    urls = []
    for name, by_rows in (("rows", True), ("optuna", False)):
        if not by_rows:
            monkeypatch.setattr(mirror, "rows", lambda _: None)
        (tmp_path / name).mkdir()
        urls.append(life(design, recorded, tmp_path / name))
    fast, slow = map(contents, urls)
    assert len(fast) == 8
    assert fast == slow


def test_a_trial_that_ended_stays_as_it_is(design, recorded, tmp_path):
    url = life(design, recorded, tmp_path)
    before = contents(url)
    with storage.opened(url) as opened:
        (first, other, *_) = optuna.load_study(study_name="toy", storage=opened).get_trials()
        there = bulk_insert.rows(opened)
        assert there
        there.put(first._trial_id, other)
        with pytest.raises(KeyError):
            there.put(10**6, other)
    assert contents(url) == before


def test_the_outline_states_what_optuna_reads(design, recorded, tmp_path):
    keys = ("cell_key", "runs")
    with storage.opened(life(design, recorded, tmp_path)) as opened:
        study = opened.get_study_id_from_name("toy")
        other = opened.create_new_study([StudyDirection.MAXIMIZE], "other")
        opened.create_new_trial(other, opened.get_all_trials(study)[0])
        there = bulk_insert.rows(opened)
        assert there
        outline, whole = there.outline(study, keys), opened.get_all_trials(study)
    assert len(outline) == 8
    for trial, read in zip(outline, whole, strict=True):
        for name in ("_trial_id", "number", "state", "distributions"):
            assert getattr(trial, name) == getattr(read, name)
        assert trial.user_attrs == {key: read.user_attrs[key] for key in keys if key in read.user_attrs}


def test_trials_of_other_studies_are_left_alone(design, recorded, tmp_path):
    url = life(design, recorded, tmp_path)
    with storage.opened(url) as opened:
        other = opened.create_new_study([StudyDirection.MAXIMIZE], "other")
        kept = opened.create_new_trial(other)
        there = bulk_insert.rows(opened)
        assert there
        there.clear(opened.get_study_id_from_name("toy"))
        assert opened.get_n_trials(other) == 1
        assert opened.get_trial(kept).number == 0
        assert opened.get_n_trials(opened.get_study_id_from_name("toy")) == 0


def test_another_schema_is_left_to_optuna(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_insert, "SCHEMA", 13)
    with storage.opened(storage.default_url(tmp_path)) as opened:
        assert bulk_insert.rows(opened) is None
    with storage.opened(f"journal:///{tmp_path}/journal") as journal:
        assert bulk_insert.rows(journal) is None


def test_numbers_continue_from_the_trials_that_are_there(design, recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_insert, "_CHUNK", 3)
    url = life(design, recorded, tmp_path)
    with storage.opened(url) as opened:
        study = opened.get_study_id_from_name("toy")
        there = bulk_insert.rows(opened)
        assert there
        made = there.add(study, opened.get_all_trials(study))
        trials = opened.get_all_trials(study)
        assert [trial.number for trial in trials] == list(range(16))
        assert [trial._trial_id for trial in trials[8:]] == made
        assert [trial.params for trial in trials[8:]] == [trial.params for trial in trials[:8]]
