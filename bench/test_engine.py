"""The overhead of the study engine, without training.

Run with: python -m pytest bench/test_engine.py -m ""
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from studies.design import design as designs
from studies.execution import plan
from studies.execution.ablation import run_study
from studies.execution.executors.base import in_process
from studies.search import search as searches
from studies.search.registry import PRUNERS, SAMPLERS
from studies.storage import connection as storage
from studies.storage.study_sync import Trials
from studies.testing import synthetic
from studies.testing.toy_searches import go
from studies.testing.toys import PROFILE, Listener, Toy

pytestmark = pytest.mark.usefixtures("of_the_cpu")

OVERHEAD = 0.010
"""Target for a toy cell with SQLite, in seconds of processor time."""


def design(folder: Path, cells: int) -> designs.Design:
    text = PROFILE.replace("seeds = 3", "seeds = 1").replace("[0, 20]", str(list(range(cells))))
    (folder / "toy.toml").write_text(text.replace("[0.5, 1]", "[1]"))
    return designs.load_design(str(folder / "toy.toml"))


def overhead(benchmark, what: str, run: Callable[[], None], parts: int) -> None:
    """Time an engine by the processor time of each part, and note the target."""
    spent: list[float] = []

    def timed() -> None:
        begin = time.process_time()
        run()
        spent.append((time.process_time() - begin) / parts)

    benchmark.pedantic(timed, rounds=3, warmup_rounds=1)
    seconds = min(spent[1:])
    benchmark.extra_info |= {"what": what, "seconds": seconds, "target": OVERHEAD, "parts": parts}


def test_overhead_of_a_toy_cell(benchmark, tmp_path):
    """From an empty folder to records and finished trials, including the creation of the storage."""
    cells, starts = 200, iter(range(1000))
    (tmp_path / "run_log").mkdir()
    toys = design(tmp_path, cells)

    def run() -> None:
        with in_process() as worker_pool:
            folder = tmp_path / str(next(starts))
            run_study(toys, folder, Toy(tmp_path / "run_log"), worker_pool=worker_pool, callbacks=Listener())

    overhead(benchmark, "a toy cell of an ablation", run, cells)


@pytest.mark.parametrize(("sampler", "pruner"), [("random", "none"), ("tpe", "median")])
def test_overhead_of_a_toy_trial(benchmark, tmp_path, sampler, pruner):
    """The same for a search, less the time of the sampler and the pruner in a search by Optuna alone."""
    trials, starts = 200, iter(range(1000))
    (tmp_path / "run_log").mkdir()
    search = searches.load_search("gate", seeds="1", changes=("train.epochs=2",))
    of_optuna = min(_optuna_alone(search, trials, sampler, pruner) for _ in range(3))

    def run() -> None:
        folder = tmp_path / str(next(starts))
        go(search, folder, Toy(tmp_path / "run_log"), trials=trials, sampler=sampler, pruner=pruner)

    overhead(benchmark, f"a toy trial of a search, {sampler} and {pruner}, less Optuna's time", run, trials)
    benchmark.extra_info["seconds"] -= of_optuna


def test_a_toy_trial_of_optuna(benchmark):
    """The time that is subtracted above, of the sampler and the pruner that take longest."""
    search = searches.load_search("gate", seeds="1", changes=("train.epochs=2",))
    spent: list[float] = []
    benchmark.pedantic(lambda: spent.append(_optuna_alone(search, 200, "tpe", "median")), rounds=3)
    benchmark.extra_info |= {"what": "a toy trial of Optuna alone, tpe and median", "seconds": min(spent)}


def _optuna_alone(search: searches.Search, trials: int, sampler: str, pruner: str) -> float:
    """Return the processor time of a trial with the same sampler and pruner, in memory, without an engine."""
    study = optuna.create_study(pruner=PRUNERS.find(pruner)(2))
    begin = time.process_time()
    for number in range(trials):
        study.sampler = SAMPLERS.find(sampler)(number)
        trial = study.ask(dict(search.space))
        for epoch in (1, 2):
            trial.report(number % 7, epoch)
            trial.should_prune()
        study.tell(trial, number % 7)
    return (time.process_time() - begin) / trials


def grid() -> dict[str, Any]:
    """Return the plan of a study of 10,000 cells."""
    axes = {
        "objective.balance_weight": [0.8 * level for level in range(25)],
        "routing.temperature": [0.25 * level for level in range(1, 21)],
        "routing.kind": ["soft", "hard"],
        "train.learning_rate": [1e-4 * level for level in range(1, 11)],
    }
    return synthetic.plan(axes, seeds=(0,))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A study of 10,000 cells that is done: records of 60 epochs with pictures, as real ones."""
    return synthetic.write(tmp_path_factory.mktemp("large"), grid())


def _open(toys: designs.Design, folder: Path) -> None:
    state = plan.make_plan(toys, folder)
    assert len(state.recorded) == 10_000
    assert not state.refused
    with storage.opened(storage.default_url(folder)) as opened:
        Trials(opened, toys, folder).reconcile(state.recorded, [task.cell.key for task in state.tasks])


@pytest.mark.parametrize("kind", ["new", "existing"])
def test_10_000_cells_open(benchmark, large, kind):
    """Read the design and the records, and reconcile the trials; `test_waiting` times the report."""
    if kind == "new":
        for path in large.glob("study.db*"):
            path.unlink()
    begin = time.process_time()
    benchmark.pedantic(lambda: _open(plan.design_of(large), large), rounds=1)
    benchmark.extra_info |= {
        "what": f"opening 10,000 cells with {kind} storage",
        "seconds": time.process_time() - begin,
    }


def test_opening_of_10_000_cells_with_new_seeds(benchmark, large):
    """Each cell has a missing seed, so that all trials are rewritten as waiting."""
    benchmark.pedantic(lambda: _open(plan.design_of(large).with_seeds((0, 1)), large), rounds=1)
    benchmark.extra_info["what"] = "opening 10,000 cells, each with a seed to come"
