"""Options, fixtures and JSON output of the benchmarks.

Run with `nox -s bench`, `nox -s bench -- --device cuda --size paper`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import moevae  # noqa: F401 - before torch, whose libraries read the variables that it sets

# isort: split
import torch
from naive_process import Rivals
from sizes import PLANS, Plan
from timer import Stopwatch

from moevae.utils import devices, provenance


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("moevae")
    group.addoption("--device", default="cpu", help="cpu, cuda or mps")
    group.addoption(
        "--size", default="quick", choices=list(PLANS), help="values of the sweeps, and number of rounds"
    )
    group.addoption(
        "--peers-python", default=sys.executable, help="interpreter with other packages installed"
    )
    group.addoption(
        "--machine", default="", help="name of this machine, to distinguish machines with the same device"
    )
    group.addoption("--threads", default=1, type=int, help="CPU threads of every contestant")


@pytest.fixture(scope="session")
def plan(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.config.getoption("--size")]


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    devices.prepare(request.config.getoption("--threads"))
    return devices.resolve(request.config.getoption("--device"))


@pytest.fixture
def of_the_cpu(request: pytest.FixtureRequest, device: torch.device) -> None:
    """Skip a benchmark that runs on the CPU only if another device is measured."""
    if device.type != "cpu":
        pytest.skip(f"{request.node.name.removeprefix('test_').replace('_', ' ')}: of CPUs alone")


@pytest.fixture(scope="module")
def rival(device: torch.device) -> Iterator[Rivals]:
    """The naive baseline, for any sizes."""
    with ExitStack() as stack:
        yield Rivals(device.type, torch.get_num_threads(), stack)


@pytest.fixture
def measure(benchmark, plan: Plan, device: torch.device) -> Stopwatch:
    return Stopwatch(benchmark, plan.rounds, device)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Sweep an argument `at_<name>` over the plan's values of that name."""
    plan = PLANS[metafunc.config.getoption("--size")]
    for name in metafunc.fixturenames:
        if name.startswith("at_"):
            metafunc.parametrize(name, getattr(plan, name.removeprefix("at_")))


_left_out: list[str] = []
_failed: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record the benchmarks that are skipped or failed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _left_out.append(report.longrepr[2].removeprefix("Skipped: "))
    elif report.failed and report.when == "call":
        _failed.add(report.nodeid)
        _left_out.append(f"{report.location[2].removeprefix('test_').replace('_', ' ')}: failed")


def pytest_benchmark_generate_json(benchmarks: list) -> None:
    """Remove benchmarks that failed or have no round; other rows are kept."""
    benchmarks[:] = [each for each in benchmarks if each and each.fullname not in _failed]


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: object, output_json: dict) -> None:
    """Add the origin of the numbers, and remove the name of the machine and the data of single rounds."""
    device = devices.resolve(config.getoption("--device"))
    commit, dirty = provenance.commit()
    for key in ("machine_info", "commit_info"):
        output_json.pop(key, None)
    output_json["origin"] = {
        "hardware": devices.describe(device),
        "versions": provenance.versions(),
        "commit": commit,
        "dirty": dirty,
        "size": config.getoption("--size"),
        "machine": config.getoption("--machine"),
        "instructions": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else "",
        "left_out": sorted(set(_left_out)),
        "load_average": os.getloadavg()[0],
    }
    for entry in output_json["benchmarks"]:
        entry["stats"].pop("data", None)
