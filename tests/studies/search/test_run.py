import dataclasses
import json
from concurrent.futures import Executor, Future
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from moevae.config import overrides
from studies.analysis.load import load_study
from studies.execution.events import EvaluationReport
from studies.execution.executors.base import WorkerPool, in_process
from studies.records import schema, store, study_file
from studies.report.build import write_report
from studies.search import run
from studies.search import search as searches
from studies.search.registry import PRUNERS, SAMPLERS
from studies.search.run import Budget
from studies.search.trials import SearchTrials
from studies.storage import connection as storage
from studies.testing import synthetic, toys
from studies.testing.toy_searches import FAST, Climb, Silent, go


@pytest.fixture
def climb(tmp_path):
    (tmp_path / "run_log").mkdir()
    return Climb(tmp_path / "run_log")


def trials_of(folder: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    with storage.opened(storage.default_url(folder)) as opened:
        return optuna.load_study(study_name=name, storage=opened).get_trials()


def test_every_complete_trial_agrees_with_its_records(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    found = go(search, tmp_path / "s", climb, trials=6, pruner="none")
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE] * 6
    assert found.trained == 12
    good, bad = store.read_all(tmp_path / "s")
    assert (len(good), bad) == (12, [])
    for trial in found.trials:
        cell = search.cell(trial.params)
        own = [
            record
            for record in good
            if record.fingerprint in {overrides.fingerprint(cell.run(s)) for s in (0, 1)}
        ]
        assert trial.value == fmean(record.metrics["validation"]["mixture_elbo"] for record in own)
        assert trial.user_attrs["n"] == 2
        assert set(trial.intermediate_values) == set(range(1, 11))
    (best,) = found.best
    assert best.value == max(trial.value for trial in found.trials)


def test_the_base_configuration_is_the_first_trial(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    first = go(search, tmp_path / "s", climb, trials=1).trials[0]
    assert search.cell(first.params).config == search.base
    assert load_study(tmp_path / "s").reference == 0


def test_a_search_continues_where_it_stopped_and_trains_nothing_twice(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    callbacks = Silent(stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        go(search, tmp_path / "s", climb, callbacks=callbacks, pruner="none")
    before = trials_of(tmp_path / "s", search.name)
    assert [trial.state for trial in before] == [TrialState.COMPLETE] * 5 + [TrialState.WAITING]
    found = go(search, tmp_path / "s", climb, pruner="none")
    assert len(found.trials) == 12
    assert found.trials[5].params == before[5].params
    assert set(climb.counts().values()) == {1}
    assert len(climb.counts()) == 24
    assert go(search, tmp_path / "s", climb).trained == 0
    whole = go(search, tmp_path / "whole", climb, pruner="none")
    assert [trial.params for trial in whole.trials] == [trial.params for trial in found.trials]


def test_a_killed_driver_leaves_a_trial_that_the_next_one_adopts(tmp_path, climb):
    """Killed after the records and before the trial: the records count, nothing is trained again."""
    search = searches.load_search("gate", **FAST)
    folder = tmp_path / "s"
    go(search, folder, climb, trials=1)
    with storage.opened(storage.default_url(folder)) as opened:
        attempts = SearchTrials(opened, search, folder)
        attempts.reconcile([], {search.cell_of(search.base).key: list(store.read_all(folder)[0])})
        attempt = attempts.ask()
        runs = [attempt.cell.run(seed) for seed in search.seeds]
        for outcome in climb(
            runs, on_event=lambda report: attempts.follow(attempt, report.epoch, report.metrics)
        ):
            store.write_record(folder, outcome)
    found = go(search, folder, climb, trials=2)
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE] * 2
    assert found.trained == 0
    assert set(climb.counts().values()) == {1}
    assert len(study_file.read(folder).cells) == 2


def test_without_its_storage_a_search_is_rebuilt_from_the_records(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    before = go(search, tmp_path / "s", climb, trials=5, pruner="none")
    for file in (tmp_path / "s").glob("study.db*"):
        file.unlink()
    after = go(search, tmp_path / "s", climb, trials=5)
    assert after.trained == 0
    trials = [
        [(trial.params, trial.value, trial.user_attrs) for trial in found.trials] for found in (before, after)
    ]
    assert trials[0] == trials[1]


def test_a_trial_without_its_record_is_removed(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    before = go(search, tmp_path / "s", climb, trials=4, pruner="none")
    lost = overrides.fingerprint(search.cell(before.trials[2].params).run(1))
    store.path_of(tmp_path / "s", lost).unlink()
    after = go(search, tmp_path / "s", climb, trials=3)
    kept = [trial.params for trial in after.trials]
    assert kept == [trial.params for trial in before.trials if trial.number != 2]


def test_poor_trials_stop_early_leave_no_record_and_keep_their_curve(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    found = go(search, tmp_path / "s", climb, trials=24)
    pruned = [trial for trial in found.trials if trial.state is TrialState.PRUNED]
    whole = [trial for trial in found.trials if trial.state is TrialState.COMPLETE]
    assert len(pruned) >= 3
    assert len(pruned) + len(whole) == 24
    good, _ = store.read_all(tmp_path / "s")
    names = {record.fingerprint for record in good}
    for trial in pruned:
        assert trial.last_step < 10
        assert trial.value == trial.intermediate_values[trial.last_step]
        assert overrides.fingerprint(search.cell(trial.params).run(0)) not in names
    assert len(names) == 2 * len(whole) == found.trained
    # An oracle for the median rule: each stopped trial was below the median of those complete before it.
    for trial in pruned:
        others = sorted(
            other.intermediate_values[trial.last_step] for other in whole if other.number < trial.number
        )
        middle = (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2
        assert max(trial.intermediate_values.values()) < middle
    assert not load_study(tmp_path / "s").partial
    assert go(search, tmp_path / "s", climb, trials=24).trained == 0


def test_a_trial_with_a_failed_run_fails_and_does_not_lead(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    found = go(search, tmp_path / "s", dataclasses.replace(climb, failing=frozenset({1})), trials=3)
    assert [trial.state for trial in found.trials] == [TrialState.FAIL] * 3
    assert found.best == ()
    assert [trial.user_attrs["failed"] for trial in found.trials] == [1] * 3


def test_several_objectives_give_a_front_and_prune_nothing(tmp_path, climb):
    search = searches.load_search("gate", objective="mixture_elbo,effective_experts", **FAST)

    def run(configs, /, *, on_event):
        outcomes = []
        for outcome in climb(configs, on_event=on_event):
            tree = outcome.record.model_dump(mode="json")
            tree["metrics"]["validation"]["effective_experts"] = tree["config"]["routing"]["temperature"]
            outcomes.append(outcome.model_copy(update={"record": schema.Record.model_validate(tree)}))
        return outcomes

    found = go(search, tmp_path / "s", run, trials=15)
    assert {trial.state for trial in found.trials} == {TrialState.COMPLETE}
    values = [tuple(trial.values) for trial in found.trials]
    beaten = {a for a in values for b in values if b != a and b[0] >= a[0] and b[1] >= a[1]}
    assert {tuple(trial.values) for trial in found.best} == set(values) - beaten
    assert [trial.values[0] for trial in found.best] == sorted(
        (a for a, _ in set(values) - beaten), reverse=True
    )


class Later(Executor):
    """Two tasks in flight: each is done only when the second is there, or nothing else would come."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Any]] = []

    def submit(self, fn, /, *args, **kwargs):
        future: Future[Any] = Future()
        self.calls.append((future, lambda: fn(*args, **kwargs)))
        return future

    def deliver(self) -> None:
        for future, call in self.calls:
            future.set_result(call())
        self.calls.clear()


def test_equal_trials_in_flight_are_trained_once(tmp_path, climb):
    search = searches.load_search(
        "gate", changes=("train.epochs=10", "routing.temperature=1", "objective=competitive")
    )
    assert list(search.space) == ["routing.kind"]
    later = Later()
    pool = WorkerPool(
        executor=later, count=lambda: 4, forward_events=lambda listener: listener, deliver=later.deliver
    )
    found = go(search, tmp_path / "s", climb, trials=8, worker_pool=pool)
    assert {trial.state for trial in found.trials} == {TrialState.COMPLETE}
    assert len(found.trials) == 8
    assert set(climb.counts().values()) == {1}
    assert len(study_file.read(tmp_path / "s").cells) == len(climb.counts()) / 2 <= 2


def test_the_trial_of_a_dead_worker_is_retried_and_finally_fails(tmp_path, climb):
    class DeathError(Exception):
        pass

    def dying(times):
        left = [times]

        def run(configs, /, *, on_event):
            if left[0]:
                left[0] -= 1
                raise DeathError
            return climb(configs, on_event=on_event)

        return run

    def lost(configs, reason, /, *, method=None):
        return [toys.outcome(config, failed=True) for config in configs]

    search = searches.load_search("gate", **FAST)
    with in_process() as here:
        pool = dataclasses.replace(here, worker_errors=(DeathError,), attempts=3)
        survived = go(search, tmp_path / "a", dying(2), trials=1, worker_pool=pool, on_worker_lost=lost)
        given_up = go(search, tmp_path / "b", dying(3), trials=1, worker_pool=pool, on_worker_lost=lost)
    assert survived.trials[0].state is TrialState.COMPLETE
    assert given_up.trials[0].state is TrialState.FAIL


def test_a_timeout_ends_a_search_between_trials(tmp_path, climb):
    search = searches.load_search("gate", **FAST)
    found = go(search, tmp_path / "s", climb, budget=Budget(trials=1000, seconds=0.3))
    assert 0 < len(found.trials) < 1000
    assert {trial.state for trial in found.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


def summary(trial):
    """What a trial says, but for its ID and when it ran."""
    names = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs")
    return {name: getattr(trial, name) for name in (*names, "intermediate_values")}


@pytest.mark.parametrize("place", ["database", "journal"])
@pytest.mark.parametrize(("sampler", "pruner"), list(zip(SAMPLERS, PRUNERS, strict=True)))
def test_every_sampler_and_pruner_searches_and_the_storage_has_their_trials(
    sampler, pruner, place, tmp_path, climb
):
    search = searches.load_search("all", seeds="1", changes=("train.epochs=3",))
    url = f"journal:///{tmp_path}/journal" if place == "journal" else storage.default_url(tmp_path / "s")
    found = go(search, tmp_path / "s", climb, trials=13, sampler=sampler, pruner=pruner, storage_url=url)
    assert len(found.trials) == 13
    assert len({json.dumps(trial.params) for trial in found.trials}) > 10
    with storage.opened(url) as opened:
        stored = optuna.load_study(study_name=search.name, storage=opened).get_trials()
    assert [summary(trial) for trial in stored] == [summary(trial) for trial in found.trials]


@pytest.mark.slow
def test_a_genetic_sampler_continues_after_a_stop_like_one_that_never_stopped(tmp_path, climb):
    """The next driver must select the same parents for the third generation."""
    search = searches.load_search("gate", seeds="1", changes=("train.epochs=1",))
    names = {"sampler": "nsga2", "pruner": "none"}
    for trials in (104, 108):
        found = go(search, tmp_path / "stopped", climb, trials=trials, **names)
    whole = go(search, tmp_path / "whole", climb, trials=108, **names)
    assert [trial.params for trial in found.trials] == [trial.params for trial in whole.trials]


def test_a_value_that_is_no_number_is_reported_and_stored(tmp_path):
    """A run whose bound becomes infinite or NaN during training has a trial, too."""
    search = searches.load_search("gate", seeds="1", changes=("train.epochs=4",))
    odd = [float("nan"), float("inf"), float("-inf"), -1.0]

    def run(configs, /, *, on_event):
        for epoch, value in enumerate(odd, start=1):
            on_event(toys.EpochReport(epoch, 4, [0.0], {"mixture_elbo": value}))
        return [toys.outcome(config) for config in configs]

    go(search, tmp_path / "s", run, trials=1, pruner="none")
    (trial,) = trials_of(tmp_path / "s", search.name)
    assert repr(list(trial.intermediate_values.values())) == repr(odd)


def test_evaluated_images_of_a_trial_are_reported(tmp_path, climb):
    def run(configs, /, *, on_event):
        made = climb(configs, on_event=on_event)
        on_event(EvaluationReport("test", 10, 20))
        return made

    search, callbacks = searches.load_search("gate", **FAST), Silent()
    found = go(search, tmp_path / "s", run, trials=2, callbacks=callbacks, pruner="none")
    assert callbacks.images == 10
    assert {trial.state for trial in found.trials} == {TrialState.COMPLETE}


def test_the_report_of_a_search_builds(tmp_path, undrawn):
    search = searches.load_search("gate", objective="nmi", **FAST)

    def run(configs, /, *, on_event):
        made = (synthetic.record(config) for config in configs)
        return [
            schema.Outcome(record=schema.Record.model_validate(tree), files=files) for tree, files in made
        ]

    found = go(search, tmp_path / "s", run, trials=6)
    assert found.best
    page = write_report(tmp_path / "s").read_text()
    assert "oracle" in page
    assert search.command in page


def test_cells_that_study_json_does_not_list_yet_are_not_lost(tmp_path, climb, monkeypatch):
    """It is written rarely, so that a trial's cost does not grow with the number of trials."""
    written: list[bytes] = []
    real = study_file.write

    def write(folder, tree, **options):
        real(folder, tree, **options)
        written.append((folder / study_file.NAME).read_bytes())

    monkeypatch.setattr(study_file, "write", write)
    monkeypatch.setattr(run, "PAUSE", 1e9)
    search, folder = searches.load_search("gate", **FAST), tmp_path / "s"
    found = go(search, folder, climb, trials=6, pruner="none")
    cells = [search.cell(trial.params).key for trial in found.trials]
    assert len(written) == 2  # at the begin and at the end
    assert list(searches.plan_of_search(search, folder)[0]) == cells
    (folder / study_file.NAME).write_bytes(written[0])  # as if killed before the end
    assert set(searches.plan_of_search(search, folder)[0]) == set(cells)
    before = climb.counts()
    go(search, folder, climb, trials=6, pruner="none")
    assert climb.counts() == before
    assert len(study_file.read(folder).cells) == len(set(cells))
