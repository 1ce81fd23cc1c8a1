"""Worker processes: who they are, what they tell, and that they decide no bit of any number."""

import os
from concurrent.futures import wait

import pytest
import torch
from toys import Listener, Toy, environment_of

import moevae
from moevae.config import RunConfig
from moevae.errors import ConfigError
from studies.executors import WorkersError
from studies.hiring import environments, workforce
from studies.ledger import Task, spread
from studies.runs import run_population
from studies.site import Site
from studies.workers import Workers, local


def test_one_worker_a_core_or_one_a_gpu(monkeypatch):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert len(environments("auto", "cpu")) == cores
    assert environments("3", "cpu") == [{**environments("1", "cpu")[0]}] * 3
    assert environments("1", "cpu")[0]["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments("auto", "cuda")] == ["0", "1"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments("3", "auto")] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments("auto", "cuda")] == ["5", "7"]
    assert "CUDA_VISIBLE_DEVICES" not in environments("auto", "cpu")[0]


@pytest.mark.parametrize("workers", ["0", "-1", "two", "", "1.5"])
def test_no_such_number_of_workers(workers):
    with pytest.raises(ConfigError, match="--workers"):
        workforce(workers, None, "cpu")


def test_work_and_reports_come_back_from_workers(tmp_path):
    watch, configs = Listener(), [RunConfig(seed=seed) for seed in range(2)]
    with local([{"ONE": "first"}, {"ONE": "second"}]) as force:
        assert force.slots == 2
        pids = [force.executor.submit(environment_of, "ONE") for _ in range(2)]
        found = [future.result() for future in pids]
        assert {name for _, name in found} == {"first", "second"}
        assert os.getpid() not in {pid for pid, _ in found}
        listener = force.relay(lambda report: watch.epochs.append(report.epoch))
        future = force.executor.submit(Toy(tmp_path), configs, on_epoch=listener)
        wait([future])
        assert [outcome.record.config["seed"] for outcome in future.result()] == [0, 1]
        force.deliver()
        assert watch.epochs == list(range(1, configs[0].train.epochs + 1))
        with pytest.raises(ZeroDivisionError):
            force.executor.submit(divmod, 1, 0).result()


def test_workers_that_never_start_are_told():
    workers = Workers([{"=": "no such variable can be set"}])

    def insist() -> None:
        for _ in range(10):
            wait([workers.submit(os.getpid)])

    try:
        with pytest.raises(WorkersError, match="do not start"):
            insist()
    finally:
        workers.end()


def test_tasks_are_spread_until_nobody_is_idle():
    tasks = [Task(None, tuple(range(5))), Task(None, tuple(range(10, 12)))]  # type: ignore[arg-type]
    assert spread(tasks, 2) == tasks
    assert [task.configs for task in spread(tasks, 4)] == [(0, 1, 2), (3, 4), (10,), (11,)]
    assert all(len(task.configs) == 1 for task in spread(tasks, 100))
    assert spread([], 4) == []


@pytest.mark.slow
def test_numbers_are_the_same_bits_in_this_process_and_in_workers():
    base = moevae.override(moevae.preset("digits"), {"train.epochs": 3, "data.train_size": 300})
    configs = [moevae.override(base, {"seed": seed}) for seed in range(3)]

    def numbers(outcomes):
        told = {"metrics", "load", "importance", "confusion", "curve", "pictures"}
        return [outcome.record.model_dump(include=told) for outcome in outcomes]

    here = numbers(run_population(configs, Site(device="cpu")))
    with local(environments("2", "cpu")) as force:
        run, site = force.executor.submit, Site(device="cpu", threads=1)
        split = [run(run_population, configs[:1], site), run(run_population, configs[1:], site)]
        there = [future.result() for future in split]
    assert [outcome.record.hardware.threads for outcome in there[0]] == [1]
    assert numbers([*there[0], *there[1]]) == here
