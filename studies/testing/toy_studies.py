"""Toy studies for fault tests, run by processes that tests may kill."""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import psutil
from optuna.trial import TrialState

from moevae.config.overrides import fingerprint
from studies.design import design
from studies.design import design as designs
from studies.execution.ablation import run_study
from studies.execution.executors.base import in_process
from studies.records import store
from studies.storage import connection as storage
from studies.testing.toys import PROFILE, Listener, Toy, outcome

HERE = Path(__file__).parent
PATIENCE = 240.0
"""Limit of a wait, in seconds, on a busy machine."""


@dataclass
class ToyStudy:
    """A folder with a toy profile of a number of cells, with one seed."""

    root: Path
    cells: int
    url: str | None = None
    name: str = "toy"

    def __post_init__(self) -> None:
        (self.root / "run_log").mkdir(parents=True, exist_ok=True)
        text = PROFILE.replace("seeds = 3", "seeds = 1").replace('name = "toy"', f'name = "{self.name}"')
        text = text.replace("[0, 20]", str(list(range(self.cells)))).replace("[0.5, 1]", "[1]")
        (self.root / "toy.toml").write_text(text)
        self.folder = self.root / "study"
        self.design = design.load_design(str(self.root / "toy.toml"))
        self.toy = Toy(self.root / "run_log")

    def run(self, **options):
        """Run the study to its end in this process."""
        with in_process() as worker_pool:
            return run_study(
                self.design,
                self.folder,
                self.toy,
                worker_pool=worker_pool,
                callbacks=Listener(),
                storage_url=self.url,
                **options,
            )

    @contextlib.contextmanager
    def driver(
        self, *, workers: int = 4, seconds: float = 0.0, attempts: int = 5, dask: str | None = None
    ) -> Iterator[psutil.Popen]:
        """Start a driver as a process and kill it on exit if it still runs."""
        command = [sys.executable, str(HERE / "toy_driver.py"), str(self.root), "--workers", str(workers)]
        command += ["--seconds", str(seconds), "--attempts", str(attempts)]
        command += ["--storage", self.url] if self.url else []
        command += ["--dask", dask] if dask else []
        paths = [str(HERE.parent.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        with (self.root / "driver.log").open("a") as log:
            process = psutil.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def published(self) -> int:
        """Return the number of written records."""
        return len(list((self.folder / "records").glob("*.json")))

    def assert_complete_once(self) -> None:
        """Check that every run has the expected record, and every cell one complete trial with its value."""
        wanted = {fingerprint(cell.run(0)): cell for cell in self.design.cells}
        good, bad = store.read_all(self.folder)
        assert not bad
        assert {record.fingerprint for record in good} == set(wanted)
        for record in good:
            assert record == outcome(wanted[record.fingerprint].run(0)).record
        assert not list(self.folder.rglob("*.tmp"))
        with storage.opened(self.url or storage.default_url(self.folder)) as opened:
            trials = optuna.load_study(study_name=self.name, storage=opened).get_trials()
        assert {trial.state for trial in trials} == {TrialState.COMPLETE}
        assert sorted(trial.user_attrs["runs"] for trial in trials) == sorted(
            [f"{name} complete"] for name in wanted
        )
        values = {trial.user_attrs["cell_key"]: trial.value for trial in trials}
        bounds = {record.fingerprint: record.metrics["validation"]["mixture_elbo"] for record in good}
        assert values == bounds


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """Return the worker processes of a driver."""
    found = []
    for child in driver.children():
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in part for part in child.cmdline()):
                found.append(child)
    return found


def kill_one_worker(driver: psutil.Process, chance: random.Random) -> bool:
    """Kill a worker with SIGKILL; return whether there was one."""
    with contextlib.suppress(psutil.Error):
        if workers := workers_of(driver):
            chance.choice(workers).kill()
            return True
    return False


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; fail after a number of seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"condition still false after {seconds} s"
        time.sleep(0.02)


def in_child(function: Callable[[], object]) -> int | None:
    """Call a function in a forked process; return its exit code, negative for a signal."""
    child = multiprocessing.get_context("fork").Process(target=function)
    child.start()
    child.join(PATIENCE)
    return child.exitcode


def die(*_: object) -> None:
    """Kill this process with SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


class Bench:
    """A toy study in its own folder, run in this process."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "results" / "toy"
        self.profile = root / "toy.toml"
        self.profile.write_text(PROFILE)
        self.run_log = root / "run_log"
        self.run_log.mkdir()
        self.toy = Toy(self.run_log)

    def design(self, **options):
        return designs.load_design(str(self.profile), **options)

    def run(self, toy=None, design=None, **options):
        callbacks = options.pop("callbacks", Listener())
        with in_process() as worker_pool:
            return run_study(
                design or self.design(),
                self.folder,
                toy or self.toy,
                worker_pool=worker_pool,
                callbacks=callbacks,
                **options,
            )

    def trials(self, url=None):
        with storage.opened(url or storage.default_url(self.folder)) as opened:
            return optuna.load_study(study_name="toy", storage=opened).get_trials()


ATTEMPTS = 50
"""Attempts per cell in a storm; with the default of 5, a cell whose workers are killed often would fail."""


def storm(
    study: ToyStudy, worker_kills: int, driver_kills: int, seed: int, *, seconds: float = 0.25
) -> tuple[int, int]:
    """Start drivers and kill them and their workers at random, then run one driver to its end.

    Returns:
        The numbers of killed workers and of killed drivers.
    """
    chance = random.Random(seed)
    killed, starts = 0, 0
    while killed < worker_kills or starts < driver_kills:
        starts += 1
        with study.driver(seconds=seconds, attempts=ATTEMPTS) as driver:
            wait_until(lambda: workers_of(driver) or driver.poll() is not None)
            share = -(-worker_kills // max(driver_kills, 1))
            for _ in range(min(share, worker_kills - killed)):
                time.sleep(chance.uniform(0, 0.6))
                killed += kill_one_worker(driver, chance)
            time.sleep(chance.uniform(0, 0.6))
            if starts <= driver_kills:
                driver.kill()
            else:
                assert driver.wait(PATIENCE) == 0
        if driver.returncode == 0 and killed < worker_kills:
            raise AssertionError("the study ended before all workers were killed; expected more cells")
    with study.driver() as driver:
        assert driver.wait(PATIENCE) == 0
    return killed, min(starts, driver_kills)
