"""What the study engine costs beside the training: the one benchmark that imports studies.

Run with: python -m pytest bench/test_engine.py -m ""
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from toys import PROFILE, Listener, Toy, outcome

from studies import designs, ledger, records, storage
from studies.engine import run_study
from studies.executors import in_process
from studies.trials import Trials

OVERHEAD = 0.020
"""Seconds a toy cell may cost, with SQLite."""
OPENING = 30.0
"""Seconds a study of 10,000 cells may take to open, reconcile and report."""


def design(folder: Path, cells: int) -> designs.Design:
    text = PROFILE.replace("seeds = 3", "seeds = 1").replace("[0, 20]", str(list(range(cells))))
    (folder / "toy.toml").write_text(text.replace("[0.5, 1]", "[1]"))
    return designs.load(str(folder / "toy.toml"))


def test_overhead_of_a_toy_cell(benchmark, tmp_path):
    """From an empty folder: records published, trials told; the opening of the storage included."""
    cells, starts = 200, iter(range(1000))
    (tmp_path / "diary").mkdir()
    toys = design(tmp_path, cells)

    def run() -> None:
        with in_process() as workforce:
            folder = tmp_path / str(next(starts))
            run_study(toys, folder, Toy(tmp_path / "diary"), workforce=workforce, watch=Listener())

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.median / cells
    benchmark.extra_info |= {"seconds per cell": seconds, "cells": cells, "cores": os.cpu_count()}
    assert seconds < OVERHEAD


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A study of 10,000 cells that is done, and its design."""
    root = tmp_path_factory.mktemp("large")
    toys = design(root, 10_000)
    folder = root / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for cell in toys.cells:
            records.publish(folder, outcome(cell.run(0)))
    ledger.write_study(ledger.survey(toys, folder), folder)
    return toys, folder


def _open(toys: designs.Design, folder: Path) -> None:
    state = ledger.survey(toys, folder)
    with storage.opened(storage.default_url(folder)) as opened:
        Trials(opened, toys, folder).reconcile(state.recorded, [task.cell.key for task in state.tasks])


@pytest.mark.parametrize("storage_there", [False, True], ids=["storage made anew", "storage there"])
def test_opening_of_10_000_cells(benchmark, large, storage_there):
    """The design read, the records surveyed, the trials reconciled."""
    _, folder = large

    def setup() -> None:
        if not storage_there:
            for path in folder.glob("study.db*"):
                path.unlink()

    benchmark.pedantic(lambda: _open(design(folder.parent, 10_000), folder), setup=setup, rounds=2)
    benchmark.extra_info |= {"cells": 10_000, "cores": os.cpu_count()}
    assert benchmark.stats.stats.median < OPENING


def test_opening_of_10_000_cells_with_new_seeds(benchmark, large):
    """Every cell has a seed to train again: all trials are written anew, as waiting."""
    toys, folder = large
    benchmark.pedantic(lambda: _open(toys.with_seeds((0, 1)), folder), rounds=1)
    assert benchmark.stats.stats.median < OPENING
