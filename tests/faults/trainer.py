"""Train a small population repeatedly, each time killed at another point and then resumed.

Forks before torch computes anything, so that torch is imported once. Prints JSON: by point, what
the resumed training would publish.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import sklearn.datasets
import sklearn.metrics  # noqa: F401
import torch._dynamo  # noqa: F401

import moevae
from moevae.training import snapshot_files
from moevae.training.trainer import Trainer
from studies.execution.config import ExecutionConfig
from studies.execution.run import run_population

CONFIG = {
    "data.train_size": 256,
    "model.num_experts": 3,
    "model.expert_hidden": [16],
    "model.gate_hidden": [16],
    "train.batch_size": 64,
    "train.epochs": 10,
}


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Let this process die at a point: `step 7`, or before, within or after the third `checkpoint`."""
    when, _, number = point.partition(" ")
    owner, name = (Trainer, "step") if when == "step" else (snapshot_files, "write")
    real, calls = getattr(owner, name), []

    def function(*args, **options):
        calls.append(name)
        last = len(calls) == (int(number) if when == "step" else 3)
        if last and when in ("step", "before"):
            die()
        if last and when == "within":
            os.fsync = die
        result = real(*args, **options)
        if last:
            die()
        return result

    setattr(owner, name, function)


def train(place: Path, point: str | None) -> None:
    if point:
        arm(point)
    base = moevae.override(moevae.preset("digits"), CONFIG)
    configs = [
        moevae.override(base, {"seed": seed, "objective.balance_weight": 5.0 * seed}) for seed in (0, 1)
    ]
    begun = []
    outcomes = run_population(
        configs,
        ExecutionConfig("cpu", snapshots=str(place), snapshot_seconds=0),
        lambda report: begun.append(report.epoch),
    )
    curve = [
        outcome.record.model_dump_json(exclude={"seconds", "throughput", "started", "commit", "dirty"})
        for outcome in outcomes
    ]
    pictures = [
        hashlib.sha256(content).hexdigest() for outcome in outcomes for content in outcome.files.values()
    ]
    result = {
        "curve": curve,
        "pictures": pictures,
        "first epoch": begun[0],
        "left": [path.name for path in place.glob("*.snapshot")],
    }
    (place.parent / f"{place.name}.json").write_text(json.dumps(result))


def main() -> None:
    root, points = Path(sys.argv[1]), sys.argv[2:]
    context = multiprocessing.get_context("fork")
    results = {}
    for index, point in enumerate(["", *points]):
        place = root / str(index)
        place.mkdir()
        for armed in [point, None] if point else [None]:
            child = context.Process(target=train, args=(place, armed))
            child.start()
            child.join()
            assert child.exitcode == (-9 if armed else 0), (point, child.exitcode)
        results[point] = json.loads((root / f"{index}.json").read_text())
    print(json.dumps(results))


if __name__ == "__main__":
    main()
