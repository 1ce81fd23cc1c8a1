"""Worker processes: their environment, their events, and independence of the results."""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import wait

import psutil
import pytest
import torch

import moevae
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from studies.execution.config import ExecutionConfig
from studies.execution.executors import processes
from studies.execution.executors.base import WorkersError
from studies.execution.executors.factory import environments, worker_pool
from studies.execution.executors.processes import Workers, local
from studies.execution.plan import Task, split_tasks
from studies.execution.run import run_population
from studies.testing.toys import Listener, Toy, environment_of


def test_one_worker_a_core_or_one_a_gpu(monkeypatch):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 0 < len(environments("auto", "cpu")) <= cores
    assert environments("3", "cpu") == [{**environments("1", "cpu")[0]}] * 3
    assert environments("1", "cpu")[0]["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments("auto", "cuda")] == ["0", "1"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments("3", "auto")] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments("auto", "cuda")] == ["5", "7"]
    assert "CUDA_VISIBLE_DEVICES" not in environments("auto", "cpu")[0]


QUOTAS = {
    "version 2": "echo '100000 100000' > cpu.max",
    "version 1": "mkdir cpu && echo 100000 > cpu/cpu.cfs_quota_us && echo 100000 > cpu/cpu.cfs_period_us",
}
COUNT = (
    "from studies.execution.executors.factory import environments; print(len(environments('auto', 'cpu')))"
)


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs cores to take away")
@pytest.mark.parametrize("quota", QUOTAS)
def test_the_core_quota_of_a_container_is_respected(quota):
    inside = f'mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && {QUOTAS[quota]} && cd / && "$@"'
    container = ["unshare", "--mount", "sh", "-ec"]
    if subprocess.run([*container, inside, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make a container here")
    count = [*container, inside, "sh", sys.executable, "-c", COUNT]
    done = subprocess.run(
        count,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "1\n"


@pytest.mark.parametrize("workers", ["0", "-1", "two", "", "1.5"])
def test_no_such_number_of_workers(workers):
    with pytest.raises(ConfigError, match="--workers"):
        worker_pool(workers, None, "cpu")


def test_work_and_reports_are_restored_from_workers(tmp_path):
    callbacks, configs = Listener(), [RunConfig(seed=seed) for seed in range(2)]
    with local([{"ONE": "first"}, {"ONE": "second"}]) as force:
        assert force.slots == 2
        pids = [force.executor.submit(environment_of, "ONE") for _ in range(2)]
        found = [future.result() for future in pids]
        assert {name for _, name in found} == {"first", "second"}
        assert os.getpid() not in {pid for pid, _ in found}
        listener = force.forward_events(lambda report: callbacks.epochs.append(report.epoch))
        future = force.executor.submit(Toy(tmp_path), configs, on_event=listener)
        wait([future])
        assert [outcome.record.config["seed"] for outcome in future.result()] == [0, 1]
        force.deliver()
        assert callbacks.epochs == list(range(1, configs[0].train.epochs + 1))
        with pytest.raises(ZeroDivisionError):
            force.executor.submit(divmod, 1, 0).result()


def test_workers_that_never_start_are_reported():
    workers = Workers([{"=": "no such variable can be set"}])

    def submit_until_failure() -> None:
        for _ in range(10):
            wait([workers.submit(os.getpid)])

    try:
        with pytest.raises(WorkersError, match="do not start"):
            submit_until_failure()
    finally:
        workers.end()


STOPPED = functools.partial(signal.raise_signal, getattr(signal, "SIGSTOP", None))
BUSY_IN_C = functools.partial(re.match, "(a+)+$", "a" * 60 + "b")
"""Computes for ages; meanwhile no other thread of the process gets a turn."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_workers_that_do_not_answer_are_ended(monkeypatch):
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.5)
    with local([{}, {}]) as force:
        first = [force.executor.submit(os.getpid) for _ in range(2)]
        pids = [future.result(60) for future in first]
        for task in (STOPPED, BUSY_IN_C):
            force.executor.submit(task)
        stopped = psutil.Process(pids[0])
        deadline = time.monotonic() + 30
        while stopped.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
            time.sleep(0.01)
        workers = [psutil.Process(pid) for pid in pids]
    assert not any(worker.is_running() for worker in workers)


def test_a_worker_opens_files_only_once_it_has_work():
    before = psutil.Process().num_fds()
    workers = Workers([{}] * 50)
    assert psutil.Process().num_fds() == before
    workers.end()
    assert psutil.Process().num_fds() == before


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from studies.execution.executors.processes import Workers
if __name__ == "__main__":
    workers = Workers([{}] * 12)
    try:
        free = workers.count()
        print(free)
        if sys.argv[3:]:
            futures = [workers.submit(os.getpid) for _ in range(free)]
            print(len({future.result() for future in futures}))
    finally:
        workers.end()
"""


def limited(tmp_path, *arguments):
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_workers_are_as_many_as_the_limit_of_open_files_allows(tmp_path):
    few = limited(tmp_path, 100, 100, "work")
    count = int(few.stdout.split()[0])
    assert 1 <= count < 12
    assert few.stdout.split() == [str(count)] * 2
    assert f"{count} of 12 workers" in few.stderr
    assert len(few.stderr.splitlines()) == 1
    assert limited(tmp_path, 100, 4096).stdout.split() == ["12"]  # a limit that may be raised is raised
    none = limited(tmp_path, 30, 30)
    assert "WorkersError: --workers 12: the limit of open files (30)" in none.stderr.splitlines()[-1]


def test_tasks_are_spread_until_no_worker_is_idle():
    tasks = [Task(None, tuple(range(5))), Task(None, tuple(range(10, 12)))]  # type: ignore[arg-type]
    assert split_tasks(tasks, 2) == tasks
    assert [task.configs for task in split_tasks(tasks, 4)] == [(0, 1, 2), (3, 4), (10,), (11,)]
    assert all(len(task.configs) == 1 for task in split_tasks(tasks, 100))
    assert split_tasks([], 4) == []


@pytest.mark.slow
def test_numbers_are_the_same_bits_in_this_process_and_in_workers():
    base = moevae.override(moevae.preset("digits"), {"train.epochs": 3, "data.train_size": 300})
    configs = [moevae.override(base, {"seed": seed}) for seed in range(3)]

    def numbers(outcomes):
        fields = {"metrics", "load", "importance", "confusion", "curve", "pictures"}
        return [outcome.record.model_dump(include=fields) for outcome in outcomes]

    here = numbers(run_population(configs, ExecutionConfig(device="cpu")))
    with local(environments("2", "cpu")) as force:
        run, execution = force.executor.submit, ExecutionConfig(device="cpu", threads=1)
        split = [run(run_population, configs[:1], execution), run(run_population, configs[1:], execution)]
        there = [future.result() for future in split]
    assert [outcome.record.hardware.threads for outcome in there[0]] == [1]
    assert numbers([*there[0], *there[1]]) == here
