"""A run that raises fails, and the others go on; a fault that is not in the runs stops the study."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from optuna.trial import TrialState

from moevae.errors import ConfigError, DataError
from studies.execution import failures
from studies.execution.ablation import run_study
from studies.execution.executors.base import WorkerPool
from studies.execution.executors.factory import environments
from studies.execution.executors.processes import local
from studies.execution.failures import FailuresError, FailureStreak, GuardedRun, RaisedException
from studies.records import schema, store
from studies.search import search
from studies.testing import toys
from studies.testing.toy_searches import FAST, Climb, go
from studies.testing.toy_studies import Bench
from studies.testing.toys import PROFILE, Listener, Toy
from studies.utils.silence import Silence


class NeedsTwo(Exception):  # noqa: N818
    """Travels to another process, and cannot be made there: pickle calls it with one argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one}, {two}")


@dataclass(frozen=True)
class Raising(Toy):
    """Raises for each run of `broken_weight` with that seed, or of any seed."""

    make: Callable[[], Exception] = MemoryError
    seed: int | None = None

    def __call__(self, configs: Sequence[Any], /, *, on_event: Any) -> list[schema.Outcome]:
        wrong = [each for each in configs if each.objective.balance_weight == self.broken_weight]
        if any(self.seed in (None, each.seed) for each in wrong):
            raise self.make()
        return super().__call__(configs, on_event=on_event)


def needs_two() -> Exception:
    return NeedsTwo("one", "two")


def too_large() -> Exception:
    return OverflowError("int too large to convert\nto float")


def lost(configs: Sequence[Any], reason: str, *, method: Any = None) -> list[schema.Outcome]:
    made = [toys.outcome(config, failed=True) for config in configs]
    why = schema.Failure(reason=reason)
    return [
        each.model_copy(update={"record": each.record.model_copy(update={"failure": why})}) for each in made
    ]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(MemoryError, "MemoryError"), (too_large, "OverflowError: int too large to convert")],
)
def test_a_run_that_raises_fails_and_the_others_continue(bench, make, reason):
    summary = bench.run(Raising(bench.run_log, make=make), on_worker_lost=lost)
    assert [record.status for record in summary.trained].count("complete") == 6
    assert len(summary.failures) == 6
    assert {record.config["objective"]["balance_weight"] for record in summary.failures} == {20}
    assert all((record.failure.reason or "").startswith(reason) for record in summary.failures)
    assert all("\n" not in record.failure.reason for record in summary.failures)
    states = [trial.state for trial in bench.trials()]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.FAIL] * 2
    assert not bench.run(on_worker_lost=lost).trained
    assert len(bench.run(on_worker_lost=lost, retry_failed=True).trained) == 6


def test_of_runs_that_train_together_only_the_one_that_raises_fails(bench):
    summary = bench.run(Raising(bench.run_log, seed=1), on_worker_lost=lost)
    assert {record.config["seed"] for record in summary.failures} == {1}
    assert [(trial.user_attrs["n"], trial.user_attrs["failed"]) for trial in bench.trials()] == [
        *[(3, 0)] * 2,
        *[(2, 1)] * 2,
    ]
    assert set(bench.toy.counts().values()) == {1}


def test_a_run_that_raises_in_a_worker_fails_with_its_own_reason(bench):
    bench.profile.write_text(PROFILE.replace("seeds = 3", "seeds = 1").replace("[0.5, 1]", "[1]"))
    toy = Raising(bench.run_log, make=needs_two)
    with local(environments("1", "cpu")) as worker_pool:
        summary = run_study(
            bench.design(),
            bench.folder,
            toy,
            worker_pool=worker_pool,
            callbacks=Listener(),
            on_worker_lost=lost,
        )
    assert [record.status for record in summary.trained] == ["complete", "failed"]
    assert summary.failures[0].failure.reason.startswith("NeedsTwo: one, two")


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (DataError("no such file"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (ConfigError("no such smoothness here"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), False),
        (RuntimeError("CUDA out of memory"), False),
    ],
)
def test_only_errors_outside_of_runs_stop_a_study(bench, error, stops):
    def run():
        return bench.run(Toy(bench.run_log, broken=error), on_worker_lost=lost)

    if stops:
        with pytest.raises(type(error)):
            run()
    else:
        assert len(run().failures) == 6
    assert len(store.read_all(bench.folder)[0]) == (6 if stops else 12)


def test_many_failures_of_one_kind_in_a_row_stop_a_study_and_the_next_start_continues(bench):
    weights = list(range(14))
    bench.profile.write_text(
        PROFILE.replace("[0, 20]", str([*weights, 20]))
        .replace("seeds = 3", "seeds = 1")
        .replace("[0.5, 1]", "[1]")
    )

    def broken(configs, /, *, on_event):
        if configs[0].objective.balance_weight in weights:
            raise RuntimeError("the driver of the card is gone")
        return bench.toy(configs, on_event=on_event)

    with pytest.raises(
        FailuresError, match=r"\b10 runs\b.*RuntimeError: the driver of the card.*--retry-failed"
    ):
        bench.run(broken, on_worker_lost=lost)
    assert len(store.read_all(bench.folder)[0]) == failures.LIMIT
    assert len(bench.run(broken, on_worker_lost=lost).trained) == 5


def test_a_success_or_another_kind_restarts_the_count():
    streak = FailureStreak()
    for _ in range(3):
        for _ in range(failures.LIMIT - 1):
            streak.note("MemoryError", "why")
        streak.end()
    for _ in range(failures.LIMIT):
        streak.note("MemoryError", "why")
        streak.note("OverflowError", "why")
    for _ in range(failures.LIMIT - 2):
        streak.note("OverflowError", "why")
    with pytest.raises(FailuresError):
        streak.note("OverflowError", "why")


def test_a_trial_that_raises_fails_and_the_search_continues(tmp_path):
    (tmp_path / "run_log").mkdir()
    climb, calls = Climb(tmp_path / "run_log"), []

    def raising(configs, /, *, on_event):
        calls.append(configs)
        if len(calls) == 2:
            raise MemoryError
        return climb(configs, on_event=on_event)

    found = go(
        search.load_search("gate", **FAST),
        tmp_path / "s",
        raising,
        trials=4,
        pruner="none",
        on_worker_lost=lost,
    )
    assert [trial.state for trial in found.trials].count(TrialState.FAIL) == 1
    assert [trial.state for trial in found.trials].count(TrialState.COMPLETE) == 3
    good, _ = store.read_all(tmp_path / "s")
    assert {record.failure.reason.partition(" ")[0] for record in good if record.failure} == {"MemoryError"}


def test_workers_that_cannot_be_polled_end_the_study(bench):
    """Running tasks never end, and polling them raises, as with a scheduler that died."""
    from concurrent.futures import Executor, Future

    class Silent(Executor):
        def submit(self, fn, /, *args, **options):
            return Future()

    def deliver():
        raise OSError("nobody answers")

    worker_pool = WorkerPool(
        Silent(), count=lambda: 2, forward_events=lambda listener: listener, deliver=deliver
    )
    with pytest.raises(OSError, match="nobody answers"):
        run_study(bench.design(), bench.folder, bench.toy, worker_pool=worker_pool, callbacks=Listener())
    assert {trial.state for trial in bench.trials()} == {TrialState.WAITING}


def test_running_tasks_are_logged_at_doubling_intervals(caplog):
    now = [0.0]
    silence = Silence(clock=lambda: now[0])
    for now[0] in (599, 601, 700, 1199, 1201, 1300):
        silence.log(["cell one", "cell two"])
    assert len(caplog.messages) == 2
    assert all("cell one; cell two" in message for message in caplog.messages)
    silence.end()
    silence.log(["cell one"])
    assert len(caplog.messages) == 2


def test_an_exception_is_described_with_its_source_line():
    raised = GuardedRun(Raising(None, make=needs_two, broken_weight=20.0))([toys_config()], on_event=None)
    assert isinstance(raised, RaisedException)
    assert raised.kind == "NeedsTwo"
    assert "(test_failures.py:" in raised.reason


def toys_config() -> Any:
    from moevae.config.overrides import override
    from moevae.config.schema import RunConfig

    return override(RunConfig(), {"objective.balance_weight": 20.0})
