"""Toy run function that trains nothing: fast, deterministic and picklable."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moevae.config.overrides import fingerprint, to_dict
from moevae.config.schema import RunConfig
from studies.execution.events import EpochReport
from studies.execution.plan import Plan, Task
from studies.records.schema import Outcome, Record

PROFILE = """
name = "toy"
title = "A study of toys"
preset = "digits"
seeds = 3
[set]
train.epochs = 2
[axes]
objective.balance_weight = [0, 20]
routing.temperature = [0.5, 1]
"""


def bound(config: RunConfig) -> float:
    """Return the validation ELBO of a toy run, which is different for each run."""
    return -100.0 + config.objective.balance_weight / 10 - config.routing.temperature - config.seed / 100


def outcome(config: RunConfig, *, failed: bool = False) -> Outcome:
    """Return the outcome of a toy run."""
    value = bound(config)
    picture = b"picture of " + fingerprint(config).encode()
    tree: dict[str, Any] = {
        "fingerprint": fingerprint(config),
        "config": to_dict(config),
        "status": "failed" if failed else "complete",
        "failure": {"reason": "loss became nan", "epoch": 1, "step": 3} if failed else None,
        "hardware": {
            "device": "cpu",
            "device_name": "toy",
            "precision": "float32",
            "threads": 1,
            "cores": 1,
            "memory_gib": 1.0,
        },
        "versions": {"moevae": "0"},
        "commit": None,
        "dirty": None,
        "data": {"name": config.data.name, "sha256": "0" * 64, "train": 10, "validation": 2, "test": 2},
        "started": "2025-01-01T00:00:00+00:00",
    }
    if failed:
        return Outcome(record=Record.model_validate(tree))
    file, epochs = f"{fingerprint(config)}-samples.png", range(1, config.train.epochs + 1)
    tree |= {
        "metrics": {
            "validation": {"mixture_elbo": value},
            "test": {"mixture_elbo": value - 1, "nmi": config.seed / 10},
        },
        "curve": {
            "epoch": [*epochs],
            "loss": [-value for _ in epochs],
            "temperature": [1.0 for _ in epochs],
            "metrics": {"mixture_elbo": [value - 2 + epoch for epoch in epochs]},
        },
        "pictures": {
            "samples": {
                "file": file,
                "sha256": hashlib.sha256(picture).hexdigest(),
                "rows": ["1"],
                "columns": ["0"],
                "tile": (1, 1),
            }
        },
    }
    return Outcome(record=Record.model_validate(tree), files={file: picture})


@dataclass(frozen=True)
class Toy:
    """Run function that records each run in a folder, so that repeated runs can be detected."""

    run_log: Path
    failing: frozenset[int] = frozenset()
    """Seeds whose runs fail."""
    broken: BaseException | None = None
    """Error raised at the start of runs with `broken_weight`."""
    broken_weight: float = 20.0
    seconds: float = 0.0
    """Duration of each run in seconds."""

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_event: Any, method: Any = None
    ) -> list[Outcome]:
        time.sleep(self.seconds * len(configs))
        if self.broken and configs[0].objective.balance_weight == self.broken_weight:
            raise self.broken
        for epoch in range(1, configs[0].train.epochs + 1):
            if on_event:
                on_event(
                    EpochReport(
                        epoch, configs[0].train.epochs, [1.0 for _ in configs], {"mixture_elbo": -100.0}
                    )
                )
        for config in configs:
            with (self.run_log / fingerprint(config)).open("a") as file:
                file.write("run\n")
        return [outcome(config, failed=config.seed in self.failing) for config in configs]

    def counts(self) -> dict[str, int]:
        """Return how often each run was executed, by fingerprint."""
        return {path.name: len(path.read_text().splitlines()) for path in self.run_log.iterdir()}


def environment_of(name: str) -> tuple[int, str | None]:
    """Return the process ID and the value of an environment variable."""
    return os.getpid(), os.environ.get(name)


class Listener:
    """Callbacks that record their calls."""

    def __init__(self) -> None:
        self.begun: list[Plan] = []
        self.epochs: list[int] = []
        self.images: list[int] = []
        self.ended: list[int] = []

    def begin(self, plan: Plan) -> None:
        self.begun.append(plan)

    def epoch(self, task: Task, report: Any) -> None:
        self.epochs.append(report.epoch)

    def evaluation(self, task: Task, report: Any) -> None:
        self.images.append(report.images)

    def done(self, task: Task, made: Sequence[Record]) -> None:
        self.ended.append(len(made))


TINY_PROFILE = """
name = "tiny"
title = "Tiny"
preset = "digits"
seeds = 2
[set]
train.epochs = 1
data.train_size = 100
evaluation.marginal_images = 20
[axes]
routing.kind = ["soft", "hard"]
"""
"""Profile whose runs are trained, in one or two seconds."""
