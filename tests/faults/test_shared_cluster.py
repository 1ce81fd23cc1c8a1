"""A Dask cluster shared by drivers, with other code or data, or with a scheduler that dies."""

import contextlib
import functools
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import wait
from types import SimpleNamespace

import numpy as np
import pytest

from moevae.utils import identity
from studies import __main__ as cli
from studies.execution.executors import dask as executor
from studies.execution.executors.base import WorkersError
from studies.execution.executors.dask import dask
from studies.records import origins
from studies.testing.toy_studies import HERE, PATIENCE, ToyStudy, wait_until

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of sockets that dead schedulers leave


def report_to(on_event, stats):
    """Send a value to the driver from a worker; return it."""
    on_event(stats)
    return stats


def test_drivers_on_one_cluster_receive_events_of_their_own_runs_only():
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=1, processes=False, protocol="tcp", dashboard_address=None
        ) as cluster,
        contextlib.ExitStack() as stack,
    ):
        drivers = [stack.enter_context(dask(cluster.scheduler_address)) for _ in range(2)]
        logs_of_drivers: list[list[str]] = [[], []]
        for number, (driver, notes) in enumerate(zip(drivers, logs_of_drivers, strict=True)):
            futures = [
                driver.executor.submit(report_to, driver.forward_events(notes.append), f"{number}-{task}")
                for task in range(3)
            ]
            assert len(wait(futures, timeout=PATIENCE).done) == 3

        def all_heard() -> bool:
            for driver in drivers:
                driver.deliver()
            return sum(map(len, logs_of_drivers)) >= 6

        wait_until(all_heard)
    assert [sorted(notes) for notes in logs_of_drivers] == [
        [f"{number}-{task}" for task in range(3)] for number in (0, 1)
    ]


@contextlib.contextmanager
def cluster_of(workers, *, code=HERE.parent.parent, folder=None):
    """Start a scheduler and workers as processes, in a folder; yield the scheduler and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    paths = [str(HERE.parent), str(code)]
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
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(started.wait)
            stack.callback(started.kill)
            processes.append(started)
        with distributed.Client(address, timeout=PATIENCE, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=PATIENCE)
        yield processes[0], address


PROFILE = """
title = "Own images"
preset = "digits"
seeds = 1
[set]
data.name = "npz:own.npz"
train.epochs = 1
model.expert_hidden = [4]
[axes]
routing.kind = ["soft"]
"""


def other_code(folder):
    """Copy the packages, with one comment added."""
    for package in ("moevae", "studies"):
        shutil.copytree(HERE.parent.parent / package, folder / package)
    with (folder / "studies/execution/run.py").open("a") as file:
        file.write("# other\n")
    return folder


def older_code(folder):
    """Write packages without the modules of this version."""
    for package in ("moevae", "studies"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("code", [other_code, older_code])
def test_a_cluster_of_other_code_is_refused_in_one_line(tmp_path, here, capsys, one_thread_again, code):
    (tmp_path / "own.toml").write_text(PROFILE)
    np.savez(tmp_path / "own.npz", images=np.random.default_rng(0).random((60, 4, 4)))
    with cluster_of(1, code=code(tmp_path / "code"), folder=tmp_path) as (_, address):
        assert cli.main(["ablate", "--profile", "./own.toml", "--device", "cpu", "--dask", address]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert origins.code().source[: identity.DIGEST_DIGITS] in line
    assert "install the same code on both" in line
    assert not list((tmp_path / "results/own").glob("records/*"))


@pytest.mark.slow
def test_a_worker_of_other_data_is_refused_until_its_file_is_replaced(
    tmp_path, here, capsys, one_thread_again
):
    (tmp_path / "own.toml").write_text(PROFILE)
    (tmp_path / "worker").mkdir()
    for seed, path in enumerate([tmp_path / "own.npz", tmp_path / "worker/own.npz"]):
        np.savez(path, images=np.random.default_rng(seed).random((60, 4, 4)))
    command = ["ablate", "--profile", "./own.toml", "--device", "cpu"]
    with cluster_of(1, folder=tmp_path / "worker") as (_, address):
        assert cli.main([*command, "--dask", address]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        shutil.copy(tmp_path / "own.npz", tmp_path / "worker/own.npz")
        assert cli.main([*command, "--dask", address]) == 0
    digests = re.findall(f"[0-9a-f]{{{identity.DIGEST_DIGITS}}}", line)
    assert len(set(digests)) == 2
    assert "every worker needs the same file" in line


def test_a_task_that_a_worker_cannot_load_is_reported_apart():
    for task in (b"cstudies.no_such_module\nname\n.", b"cstudies\nno_such_name\n."):
        with pytest.raises(ImportError) as caught:
            executor._call_pickled(task, "unreadable")
        assert caught.value.name == "unreadable"
    with pytest.raises(ZeroDivisionError):
        executor._call_pickled(pickle.dumps(functools.partial(divmod, 1, 0)), "unreadable")


def test_a_dead_scheduler_is_reported_while_a_task_runs(monkeypatch):
    monkeypatch.setattr(executor, "_QUERY_INTERVAL", 0.0)
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, protocol="tcp", dashboard_address=None
        ) as cluster,
        dask(cluster.scheduler_address) as driver,
    ):
        driver.deliver()
        cluster.close()
        with pytest.raises(WorkersError, match="--dask"):
            wait_until(driver.deliver)


def test_a_scheduler_that_does_not_answer_is_asked_once_only():
    asked = []

    def sync(question, *, callback_timeout, **options):
        asked.append(callback_timeout)
        raise TimeoutError

    client = SimpleNamespace(status="running", scheduler=SimpleNamespace(identity=None), sync=sync)
    workers = executor._WorkerList(client, "tcp://nowhere:1")
    for ask in (workers.check, workers.threads, workers.gpus):
        with pytest.raises(WorkersError, match="--dask tcp://nowhere:1"):
            ask()
    assert len(asked) == 1
    assert 0 < asked[0] < 60


@pytest.mark.faults
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_dies_or_stops_ends_the_driver(tmp_path, reliability, sent):
    study = ToyStudy(tmp_path, 40)
    with cluster_of(2) as (scheduler, address), study.driver(seconds=0.5, dask=address) as driver:
        wait_until(study.published)
        scheduler.send_signal(sent)
        begin = time.monotonic()
        assert driver.wait(PATIENCE) == 1
        lasted = time.monotonic() - begin
    log = (tmp_path / "driver.log").read_text()
    assert "WorkersError: --dask" in log.splitlines()[-1]
    kept = study.published()
    assert 0 < kept < 40
    assert study.run().before.pending == 40 - kept
    study.assert_complete_once()
    reliability(
        "Dask",
        f"{sent.name} of the scheduler while 2 workers run",
        f"the driver ended after {lasted:.0f} s with one line; the next start completed the study",
    )
