"""What a person waits for at the prompt, against a target: processor time of commands, imports included.

Processor time, since other work on the machine changes the wall time; on an idle core the two agree.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_engine import design, grid

from studies.execution.ablation import run_study
from studies.execution.executors.base import in_process
from studies.testing import synthetic
from studies.testing.toys import Listener, Toy

pytestmark = pytest.mark.usefixtures("of_the_cpu")

FIRST_STEP = """
import os, sys, time
import moevae.__main__ as main
from moevae.training import trainer

step = trainer.Trainer.step

def first(self, *given):
    step(self, *given)
    os._exit(0)

trainer.Trainer.step = first
main.main(sys.argv[1:])
"""


def command(
    benchmark, what: str, target: float, typed: list[str], rounds: int = 3, **environment: str
) -> None:
    """Time a command by the processor time of its process, and note the target."""
    spent: list[float] = []

    def run() -> None:
        before = os.times()
        done = subprocess.run(
            [sys.executable, *typed], env=os.environ | environment, capture_output=True, text=True
        )
        after = os.times()
        assert done.returncode == 0, done.stderr
        spent.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )

    benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info |= {"what": what, "seconds": min(spent[1:]), "target": target}


def test_help(benchmark):
    command(benchmark, "`moevae --help`", 0.3, ["-m", "moevae", "--help"], rounds=5)


def test_first_step(benchmark, tmp_path):
    typed = ["-c", FIRST_STEP, "train", "--output", str(tmp_path)]
    command(benchmark, "the first training step of `moevae train`", 3, typed, OMP_NUM_THREADS="1")


def test_finished_study(benchmark, tmp_path):
    """A study of 100 cells that is done, with its report."""
    (tmp_path / "run_log").mkdir()
    toys = design(tmp_path, 100)
    with in_process() as worker_pool:
        run_study(
            toys,
            tmp_path / "r" / toys.name,
            Toy(tmp_path / "run_log"),
            worker_pool=worker_pool,
            callbacks=Listener(),
        )
    typed = [
        "-m",
        "moevae",
        "ablate",
        "--profile",
        str(tmp_path / "toy.toml"),
        "--results",
        str(tmp_path / "r"),
    ]
    cache = str(tmp_path / "cache")
    command(benchmark, "`ablate` on a finished study", 2, typed, XDG_CACHE_HOME=cache)


def test_unchanged_report(benchmark, tmp_path):
    study = synthetic.write(tmp_path / "r" / "made-up", synthetic.plan(seeds=range(10)))
    typed = ["-m", "moevae", "report", study.name, "--results", str(study.parent)]
    command(benchmark, "`report` on unchanged records", 2, typed, XDG_CACHE_HOME=str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("large") / "made-up", grid())


@pytest.mark.parametrize(("name", "target"), [("report", 15.0), ("verify", 10.0)])
def test_10_000_records(benchmark, large, name, target):
    typed = ["-m", "moevae", name, "made-up", "--results", str(large.parent)]
    typed += ["--overwrite"] if name == "report" else []
    command(benchmark, f"`{name}` of 10,000 records", target, typed)
    if name == "report":
        assert (large / "report.md").stat().st_size < 512 * 1024, "GitHub would not show it"
