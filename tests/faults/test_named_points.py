"""kill -9 of the driver just before, during and after its steps: the next start resumes the study."""

import os
import sys

import pytest

from studies.records import store, study_file
from studies.storage.mirror import Mirror
from studies.storage.study_sync import Trials
from studies.testing.toy_studies import ToyStudy, die, in_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

STEPS = {
    "reconcile": (Trials, "reconcile"),
    "queue a cell": (Mirror, "add"),
    "write the plan": (study_file, "write"),
    "start a cell": (Trials, "start"),
    "publish": (store, "write_record"),
    "tell": (Trials, "finish"),
}


def deadly(monkeypatch, owner, name: str, when: str, count: int = 2) -> None:
    """Let the process die at the second call of a function, or at its only call."""
    real = getattr(owner, name)
    calls = []

    def function(*args, **options):
        calls.append(name)
        last = len(calls) == (1 if name in ("reconcile", "add", "write") else count)
        if last and when == "before":
            die()
        if last and when == "within":
            monkeypatch.setattr(os, "fsync", die)
        result = real(*args, **options)
        if last:
            die()
        return result

    monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=[] if step in ("publish", "tell") else pytest.mark.faults) for step in STEPS],
)
def test_killed_at_a_step(tmp_path, monkeypatch, reliability, step, when):
    study = ToyStudy(tmp_path, 4)
    with monkeypatch.context() as patch:
        deadly(patch, *STEPS[step], when)
        assert in_child(study.run) == -9
    kept = study.published()
    summary = study.run()
    assert summary.before.pending == 4 - kept
    study.assert_complete_once()
    reliability(
        "named points", f"kill -9 of the driver just {when}: {step}", "the next start completed the study"
    )


@pytest.mark.parametrize("step", ["write the plan", "publish"])
def test_killed_while_a_file_is_written(tmp_path, monkeypatch, reliability, step):
    study = ToyStudy(tmp_path, 4)
    with monkeypatch.context() as patch:
        deadly(patch, *STEPS[step], "within")
        assert in_child(study.run) == -9
    assert list(study.folder.rglob("*.tmp"))
    study.run()
    study.assert_complete_once()
    reliability(
        "named points",
        f"kill -9 of the driver while a file is written: {step}",
        "no partial file; the next start completed the study",
    )
