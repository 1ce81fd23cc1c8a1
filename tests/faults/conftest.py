"""Where fault tests put down what they saw: `--reliability FILE` makes a page of it."""

import platform
import time
from pathlib import Path

import psutil
import pytest

from moevae.utils import provenance

_LINES = pytest.StashKey[dict[str, str]]()

HEAD = """# Reliability

What was done to the study engine, and what came of it. Made by `nox -s faults`; every line is a test in
`tests/faults/`, whose small form runs with the default suite. Toy runs train nothing, so that only the
engine is on trial; where it says digits, real runs are trained.

A cell whose worker dies is begun again, 5 times at most: one that kills its workers, as by lack of memory,
must not go on for ever. In the storms it is 50 times, since there the killing is chance and no cell's fault.

| claim | load or fault | outcome | time |
|---|---|---|---|
"""


def pytest_addoption(parser):
    parser.addoption("--reliability", type=Path, help="write what was seen to this Markdown file")


@pytest.fixture
def reliability(request):
    """Note a claim, what was done, and what came of it; of a test in several sizes, the last is kept."""
    lines, begin = request.config.stash.setdefault(_LINES, {}), time.monotonic()

    def note(claim: str, fault: str, outcome: str, *, sized: bool = False) -> None:
        key = request.node.originalname if sized else request.node.nodeid
        lines[key] = f"| {claim} | {fault} | {outcome} | {time.monotonic() - begin:.0f} s |"

    return note


def pytest_sessionfinish(session):
    path = session.config.getoption("--reliability", default=None)
    lines = session.config.stash.get(_LINES, {})
    if path is None or not lines:
        return
    commit, dirty = provenance.commit()
    versions = provenance.versions()
    told = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "optuna"))
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{_processor()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"
    failed = f" {session.testsfailed} tests failed." if session.testsfailed else ""
    state = f"commit {(commit or 'unknown')[:10]}{' with changes' if dirty else ''}"
    foot = f"\n{machine}; {told}; {state}.{failed}\n"
    path.write_text(HEAD + "\n".join(sorted(lines.values())) + "\n" + foot)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
