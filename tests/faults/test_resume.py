"""Training that was killed resumes to bitwise the same numbers
(in one process: `tests/moevae/training/test_snapshots.py`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")
STEPS = [1, 3, 6, 10, 13, 17, 22, 28, 33, 39]
"""Of 40."""
WRITES = ["before checkpoint", "within checkpoint", "after checkpoint"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("steps", "writes"),
    [pytest.param([22], [], marks=pytest.mark.slow), pytest.param(STEPS, WRITES, marks=pytest.mark.faults)],
)
def test_killed_training_resumes_bitwise(tmp_path, reliability, steps, writes):
    points = [*(f"step {step}" for step in steps), *writes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    trainer = [sys.executable, str(Path(__file__).with_name("trainer.py")), str(tmp_path), *points]
    done = subprocess.run(trainer, env=environment, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    quiet = results.pop("")
    assert quiet["first epoch"] == 1
    for point, result in results.items():
        assert result["curve"] == quiet["curve"], point
        assert result["pictures"] == quiet["pictures"], point
        assert result["left"] == [], point
        if point.startswith("step"):
            assert result["first epoch"] == 1 + (int(point.split()[1]) - 1) // 4
    reliability(
        "resume",
        f"digits, 2 runs of 40 steps: kill -9 at {len(steps)} different steps"
        f"{', and before, during and after writing a checkpoint' if writes else ''}",
        f"{len(results)} of {len(results)} resumed to bitwise equal records and pictures",
        sized=True,
    )
