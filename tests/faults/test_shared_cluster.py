"""A Dask cluster that drivers share, and one whose scheduler dies."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import wait

import pytest

from studies.execution.executors.dask import dask
from studies.testing.toy_studies import HERE, ToyStudy, wait_until

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of sockets that dead schedulers leave


def report_to(on_epoch, told):
    """In a worker: tell the driver something, and wait until that has left."""
    on_epoch(told)
    return told


def test_drivers_on_one_cluster_hear_their_own_runs_only():
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=1, processes=False, protocol="tcp", dashboard_address=None
        ) as cluster,
        contextlib.ExitStack() as stack,
    ):
        drivers = [stack.enter_context(dask(cluster.scheduler_address)) for _ in range(2)]
        heard: list[list[str]] = [[], []]
        for number, (driver, notes) in enumerate(zip(drivers, heard, strict=True)):
            futures = [
                driver.executor.submit(report_to, driver.forward_events(notes.append), f"{number}-{task}")
                for task in range(3)
            ]
            assert len(wait(futures, timeout=30).done) == 3

        def all_heard() -> bool:
            for driver in drivers:
                driver.deliver()
            return sum(map(len, heard)) >= 6

        wait_until(all_heard, 30)
    assert [sorted(notes) for notes in heard] == [
        [f"{number}-{task}" for task in range(3)] for number in (0, 1)
    ]


@contextlib.contextmanager
def cluster_of(workers):
    """Start a scheduler and workers as processes; yield the scheduler and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    paths = [str(HERE.parent), str(HERE.parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    here = ["--host", "127.0.0.1"]
    commands = [["scheduler", *here, "--port", str(port), "--no-dashboard"]]
    commands += [["worker", address, *here, "--nthreads", "1", "--no-nanny", "--no-dashboard"]] * workers
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            started = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(started.wait)
            stack.callback(started.kill)
            processes.append(started)
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield processes[0], address


@pytest.mark.faults
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_dies_or_stops_ends_the_driver(tmp_path, reliability, sent):
    study = ToyStudy(tmp_path, 40)
    with cluster_of(2) as (scheduler, address), study.driver(seconds=0.5, dask=address) as driver:
        wait_until(study.published)
        scheduler.send_signal(sent)
        begin = time.monotonic()
        assert driver.wait(90) == 1
        lasted = time.monotonic() - begin
    told = (tmp_path / "driver.log").read_text()
    assert "WorkersError: --dask" in told.splitlines()[-1]
    kept = study.published()
    assert 0 < kept < 40
    assert study.run().before.pending == 40 - kept
    study.assert_complete_once()
    reliability(
        "Dask",
        f"{sent.name} of the scheduler while 2 workers run",
        f"the driver ended after {lasted:.0f} s with one line; the next start went on",
    )
