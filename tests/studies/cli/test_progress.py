import io

import pytest
from rich.console import Console
from rich.text import Text

from studies.cli import progress
from studies.design import design
from studies.execution.events import EvaluationReport
from studies.execution.plan import Task, make_plan
from studies.testing.toys import PROFILE, EpochReport, Toy


@pytest.fixture
def plan(tmp_path):
    """A study of four cells with three runs of two epochs each."""
    profile = tmp_path / "toy.toml"
    profile.write_text(PROFILE)
    return make_plan(design.load_design(str(profile)), tmp_path / "toy")


@pytest.fixture
def clock(monkeypatch):
    """A clock that is advanced by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_does_not_count_the_start(plan, clock):
    found = progress.Clock(plan.tasks)
    first, second, *_ = plan.tasks
    assert found.left() is None
    clock[0] = 1000.0
    found.note(first, 1)
    assert found.left() is None
    clock[0] += 10.0
    found.note(first, 2)
    assert found.left() == pytest.approx(10.0 * 6)  # 3 of 24 epochs took 10 s, 18 are left
    found.end(first)
    clock[0] += 10.0
    found.note(second, 1)
    assert found.left() == pytest.approx(10.0 * 5)


def test_epochs_of_a_snapshot_took_no_time(plan, clock):
    found = progress.Clock(plan.tasks)
    first, second, third, _ = plan.tasks
    found.note(first, 1)
    clock[0] += 10.0
    found.note(second, 2)  # continues from a snapshot after its first epoch
    assert found.left() == pytest.approx(10.0 * 15 / 3)
    clock[0] += 10.0
    found.note(third, 1)
    assert found.left() == pytest.approx(20.0 * 12 / 6)


def test_how_long_runs_are_measured_is_not_known_from_epochs(plan, clock):
    found = progress.Clock(plan.tasks)
    for task in plan.tasks:
        clock[0] += 10.0
        found.note(task, 2)
    assert found.left() is None
    for task in plan.tasks:
        found.end(task)
    assert found.left() == 0


def test_a_task_that_reports_no_epoch_counts_when_it_ends(plan, clock):
    found = progress.Clock(plan.tasks)
    for number, task in enumerate(plan.tasks, start=1):
        clock[0] += 10.0
        found.end(task)
        assert found.epochs == number * found.total / len(plan.tasks)
    assert found.left() == 0
    assert found.runs == found.total_runs == 12


def test_without_a_terminal_a_line_states_what_a_task_gave(plan, clock, tmp_path):
    (tmp_path / "run_log").mkdir()
    toy, out = Toy(tmp_path / "run_log", failing=frozenset([1])), io.StringIO()
    task = plan.tasks[0]
    with progress.show_progress(Console(file=out)) as callbacks:
        callbacks.begin(plan)
        clock[0] += 5.0
        callbacks.epoch(task, EpochReport(1, 2, [1.0], {"mixture_elbo": -100.0}))
        callbacks.done(task, [one.record for one in toy(task.configs, on_event=None)])
    (line,) = out.getvalue().splitlines()
    assert line.startswith("[3/12 runs, ")
    assert line.endswith("balance_weight = 0, temperature = 0.5: ELBO -101.5, NMI 0.1, 2 runs, 1 failed")


def test_a_terminal_of_80_columns_shows_all_that_differs(plan, clock):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=20)
    task, words = plan.tasks[0], "routing.temperature_schedule = exponential, model.gate_input = grayscale"
    with progress.show_progress(console) as callbacks:
        callbacks.begin(plan)
        callbacks._labels[task.cell.key] = words
        callbacks.epoch(task, EpochReport(1, 2, [1.0], {"mixture_elbo": -100.0, "nmi": 0.1}))
    shown = " ".join(Text.from_ansi(out.getvalue()).plain.split())
    assert f"{words}: epoch 1/2, loss 1, ELBO -100, NMI 0.1" in shown


def test_the_evaluated_images_of_a_cell_are_shown(plan, clock):
    task, shown = plan.tasks[0], []
    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=80, height=20)
        with progress.show_progress(console) as callbacks:
            callbacks.begin(plan)
            clock[0] += 60.0
            callbacks.evaluation(task, EvaluationReport("test", 3_000, 10_000))
        shown.append(" ".join(Text.from_ansi(out.getvalue()).plain.split()))
    words = "balance_weight = 0, temperature = 0.5: 3,000 of 10,000 test images evaluated"
    assert all(words in each for each in shown)


def test_a_task_that_is_divided_counts_once(plan, clock):
    found = progress.Clock(plan.tasks)
    first, *others = plan.tasks
    found.note(first, 1)
    for config in first.configs:
        found.end(Task(first.cell, (config,)))
    assert found.epochs == 3 * 2
    for task in others:
        found.end(task)
    assert (found.epochs, found.runs) == (found.total, found.total_runs)


def test_a_line_states_what_differs_between_cells():
    grid = design.load_design("quick")
    labels = [progress.changes(grid, cell) for cell in grid.cells]
    assert len({*labels}) == len(labels)
    alone = design.load_design("reference")
    labels = {cell.key: progress.changes(alone, cell) for cell in alone.cells}
    for cell in alone.cells:
        own = {key: value for key, value in cell.values.items() if value != alone.reference[key]}
        assert labels[cell.key].count("=") == len(own)
    assert "reference cell" in labels.values()
