import json
import os
import signal
import subprocess
import sys
from concurrent.futures import Executor
from statistics import fmean, stdev

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, event

from moevae.config.overrides import fingerprint
from moevae.errors import ConfigError, DataError, RecordError
from studies.execution.ablation import run_study
from studies.execution.events import EvaluationReport
from studies.execution.executors.base import WorkerPool, WorkersError, in_process
from studies.execution.executors.processes import local
from studies.records import lock, store
from studies.storage import connection as storage
from studies.storage.bulk_insert import Rows
from studies.storage.connection import StorageError
from studies.testing.toy_studies import Bench
from studies.testing.toys import PROFILE, Listener, Toy, bound
from studies.utils.signals import Terminated, terminable


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_every_run_once_with_its_record_and_one_trial_a_cell(bench):
    design, callbacks = bench.design(), Listener()
    summary = bench.run(callbacks=callbacks)
    planned = {fingerprint(cell.run(seed)) for cell in design.cells for seed in design.seeds}
    good, bad = store.read_all(bench.folder)
    assert {record.fingerprint for record in good} == planned
    assert not bad
    assert bench.toy.counts() == dict.fromkeys(planned, 1)
    assert len(summary.trained) == len(planned)
    assert callbacks.epochs == [1, 2] * len(design.cells)
    assert callbacks.ended == [3] * len(design.cells)

    trials = bench.trials()
    assert [trial.params for trial in trials] == [dict(cell.values) for cell in design.cells]
    for trial, cell in zip(trials, design.cells, strict=True):
        bounds = [bound(cell.run(seed)) for seed in design.seeds]
        assert trial.state is TrialState.COMPLETE
        assert trial.value == pytest.approx(fmean(bounds))
        assert trial.intermediate_values == pytest.approx({1: fmean(bounds) - 1, 2: fmean(bounds)})
        assert trial.user_attrs["n"] == 3
        assert trial.user_attrs["seeds"] == [0, 1, 2]
        assert trial.user_attrs["cell"] == cell.label
        assert trial.user_attrs["mixture_elbo"] == pytest.approx(fmean(bounds) - 1)
        assert trial.user_attrs["nmi"] == pytest.approx(0.1)
        assert trial.user_attrs["nmi (std)"] == pytest.approx(stdev([0.0, 0.1, 0.2]))


def test_evaluated_images_are_reported_between_epochs_and_records(bench):
    def run(configs, /, *, on_event):
        made = bench.toy(configs, on_event=on_event)
        for images in (10, 20):
            on_event(EvaluationReport("test", images, 20))
        return made

    callbacks = Listener()
    bench.run(run, callbacks=callbacks)
    assert callbacks.images == [10, 20] * len(bench.design().cells)
    assert callbacks.epochs == [1, 2] * len(bench.design().cells)


def test_a_finished_study_trains_nothing_and_changes_no_byte(bench):
    bench.run()
    before = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.suffix in (".json", ".png")}
    counts = bench.toy.counts()
    summary = bench.run()
    assert not summary.trained
    assert bench.toy.counts() == counts
    assert {path: path.read_bytes() for path in before} == before
    assert len(bench.trials()) == 4


def test_more_seeds_train_only_what_is_missing(bench):
    bench.run()
    summary = bench.run(design=bench.design(seeds="5"))
    assert {record.config["seed"] for record in summary.trained} == {3, 4}
    assert set(bench.toy.counts().values()) == {1}
    assert len(bench.toy.counts()) == 4 * 5
    assert [trial.user_attrs["n"] for trial in bench.trials()] == [5] * 4
    tree = json.loads((bench.folder / "study.json").read_text())
    assert tree["seeds"] == [0, 1, 2, 3, 4]
    assert tree["command"].endswith("--seeds 5")
    assert not bench.run(design=bench.design(seeds="1,")).trained
    assert json.loads((bench.folder / "study.json").read_text()) == tree


def test_an_axis_may_grow(bench):
    bench.run()
    bench.profile.write_text(PROFILE.replace("[0.5, 1]", "[0.5, 1, 4]"))
    summary = bench.run()
    assert len(summary.trained) == 2 * 3
    assert [trial.state for trial in bench.trials()] == [TrialState.COMPLETE] * 6


def test_another_design_is_refused_and_the_folder_left_alone(bench):
    bench.run()
    before = sorted(bench.folder.rglob("*"))
    bench.profile.write_text(PROFILE.replace("train.epochs = 2", "train.epochs = 3"))
    with pytest.raises(RecordError, match=r"train\.epochs is 2, expected 3.*--name"):
        bench.run()
    assert sorted(bench.folder.rglob("*")) == before


def test_failed_runs_lower_n_and_run_again_only_when_asked(bench):
    failing = Toy(bench.run_log, failing=frozenset({1}))
    summary = bench.run(failing)
    assert len(summary.failures) == 4
    assert [(trial.user_attrs["n"], trial.user_attrs["failed"]) for trial in bench.trials()] == [(2, 1)] * 4
    again = bench.run()
    assert not again.trained
    assert len(again.failures) == 4
    retried = bench.run(retry_failed=True)
    assert {record.config["seed"] for record in retried.trained} == {1}
    assert not retried.failures
    assert [(trial.user_attrs["n"], trial.user_attrs["failed"]) for trial in bench.trials()] == [(3, 0)] * 4


def test_a_cell_whose_runs_all_failed_is_a_failed_trial(bench):
    bench.run(Toy(bench.run_log, failing=frozenset({0, 1, 2})))
    assert [trial.state for trial in bench.trials()] == [TrialState.FAIL] * 4


@pytest.mark.parametrize("broken", [KeyboardInterrupt(), RuntimeError("a bug"), DataError("no data")])
def test_a_failure_keeps_finished_cells_and_queues_the_others(bench, broken):
    with pytest.raises(type(broken)):
        bench.run(Toy(bench.run_log, broken=broken))
    states = [trial.state for trial in bench.trials()]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.WAITING] * 2
    assert len(store.read_all(bench.folder)[0]) == 6
    assert len(bench.run().trained) == 6
    assert [trial.state for trial in bench.trials()] == [TrialState.COMPLETE] * 4
    assert set(bench.toy.counts().values()) == {1}


def test_runs_published_by_a_driver_that_died_are_adopted(bench):
    """As after kill -9 between records and trials: records exist, their trials are running."""
    with pytest.raises(KeyboardInterrupt):
        bench.run(Toy(bench.run_log, broken=KeyboardInterrupt()))
    for cell in bench.design().cells[2:]:
        for outcome in Toy(bench.run_log)([cell.run(seed) for seed in (0, 1, 2)], on_event=None):
            store.write_record(bench.folder, outcome)
    with storage.opened(storage.default_url(bench.folder)) as opened:
        number = opened.get_study_id_from_name("toy")
        for trial in opened.get_all_trials(number, states=(TrialState.WAITING,)):
            opened.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    assert not bench.run().trained
    assert [trial.state for trial in bench.trials()] == [TrialState.COMPLETE] * 4


def test_the_storage_is_rebuilt_from_the_records(bench):
    bench.run()

    def contents(trials):
        return [(trial.params, trial.value, trial.user_attrs, trial.intermediate_values) for trial in trials]

    before = contents(bench.trials())
    for path in bench.folder.glob("study.db*"):
        path.unlink()
    assert not bench.run().trained
    assert contents(bench.trials()) == before


def test_a_missing_record_is_trained_again(bench):
    bench.run()
    gone = sorted((bench.folder / "records").glob("*.json"))[5]
    content = gone.read_bytes()
    gone.unlink()
    assert [record.fingerprint for record in bench.run().trained] == [gone.stem]
    assert gone.read_bytes() == content
    assert len(bench.trials()) == 4


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b'"nmi": 0.', b'"nmi": 1.'),
    ],
    ids=["torn", "a digit changed"],
)
def test_a_broken_record_is_named_kept_and_made_again(bench, harm):
    bench.run()
    broken = sorted((bench.folder / "records").glob("*.json"))[0]
    content = broken.read_bytes()
    assert harm(content) != content
    broken.write_bytes(harm(content))
    summary = bench.run()
    assert [broken.name in str(error) for error in summary.before.refused] == [True]
    assert broken.read_bytes() == content
    assert [kept.read_bytes() for kept in (bench.folder / "refused").iterdir()] == [harm(content)]


def test_nothing_is_written_when_the_preflight_refuses(bench):
    def refuse(configs):
        assert len(configs) == 12
        raise DataError("no data")

    with pytest.raises(DataError):
        bench.run(preflight=refuse)
    assert not bench.folder.parent.exists()


def test_nothing_is_written_when_the_pool_allows_no_worker(bench):
    def count():
        raise WorkersError("the limit of open files allows no worker")

    pool = WorkerPool(Executor(), count, lambda listener: listener)
    with pytest.raises(WorkersError):
        run_study(bench.design(), bench.folder, bench.toy, worker_pool=pool, callbacks=Listener())
    assert not bench.folder.exists()


def test_a_storage_that_cannot_be_opened_is_one_line(bench, tmp_path):
    with pytest.raises(StorageError) as caught:
        bench.run(storage_url="postgrsql://somebody:secret@nowhere/db")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not bench.folder.exists()


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_other_storages_hold_several_studies_but_not_two_of_a_name(bench, tmp_path, scheme):
    url = f"{scheme}:///{tmp_path}/shared.store"
    bench.run(storage_url=url)
    bench.run(storage_url=url, design=bench.design(seeds="4"))
    assert [trial.user_attrs["n"] for trial in bench.trials(url)] == [4] * 4
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(StorageError, match="--name"):
        Bench(other).run(storage_url=url)
    assert [trial.user_attrs["n"] for trial in bench.trials(url)] == [4] * 4


def test_a_second_driver_is_refused_with_the_process_of_the_first(bench):
    holding = f"""
from pathlib import Path
from studies.records import lock as locks
with locks.hold(Path({str(bench.folder)!r})):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        with pytest.raises(lock.StudyLockedError, match=f"process {first.pid} on .*, since 20"):
            bench.run()
        assert f"process {first.pid}" in (lock.holder(bench.folder) or "")
        first.kill()
    assert lock.holder(bench.folder) is None
    assert len(bench.run().trained) == 12


def test_outcomes_of_other_runs_are_an_error(bench):
    def wrong(configs, /, *, on_event):
        return bench.toy(configs[1:], on_event=on_event)

    with pytest.raises(RuntimeError, match="did not return the runs"):
        bench.run(wrong)
    assert not store.read_all(bench.folder)[0]


def test_a_design_needs_seeds(bench):
    with pytest.raises(ConfigError):
        bench.design(seeds="0")


def test_each_cell_costs_the_same_few_statements_of_the_storage(bench):
    """Reading or writing all earlier cells again would make later cells slower."""
    statements: list[str] = []

    def note(connection, cursor, statement, parameters, context, many):
        statements.append(statement)

    costs = []
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for cells in (2, 12, 22):
            bench.profile.write_text(
                PROFILE.replace("seeds = 3", "seeds = 1").replace("[0, 20]", str(list(range(cells))))
            )
            design = bench.design(changes=["routing.temperature=1"], name="toy")
            before = len(statements)
            assert len(bench.run(design=design).trained) == (2 if cells == 2 else 10)
            costs.append(len(statements) - before)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert costs[2] <= costs[1] + 2
    assert costs[1] < 10 * 40


@pytest.mark.parametrize("workers", [None, 1])
def test_a_signal_does_not_interrupt_a_transaction(bench, workers, monkeypatch):
    """Raised where the driver has begun to write, it would lock the storage for its own driver."""
    attach, sent = Rows._attach, []

    def struck(self, connection, pairs):
        if not sent and any(trial.state.is_finished() for _, trial in pairs):
            sent.append(signal.SIGTERM)  # only once: a second signal ends the process
            os.kill(os.getpid(), signal.SIGTERM)
        attach(self, connection, pairs)

    monkeypatch.setattr(Rows, "_attach", struck)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.0)  # a locked storage is an error at once
    monkeypatch.setattr(storage, "_engine_options", lambda url: {"connect_args": {"timeout": 0}})
    force = in_process() if workers is None else local([{"OMP_NUM_THREADS": "1"}] * workers)
    with pytest.raises(Terminated), terminable(), force as worker_pool:
        run_study(bench.design(), bench.folder, bench.toy, worker_pool=worker_pool, callbacks=Listener())
    monkeypatch.undo()
    states = [trial.state for trial in bench.trials()]
    kept = states.count(TrialState.COMPLETE)  # a worker may have finished another cell by then
    assert kept in ({1} if workers is None else {1, 2})
    assert states == [TrialState.COMPLETE] * kept + [TrialState.WAITING] * (4 - kept)
    assert len(bench.run().trained) == 3 * (4 - kept)
