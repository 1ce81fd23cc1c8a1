"""Contestants in separate processes, such as the naive baseline, with default settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sizes import Sizes

SET_BY_MOEVAE = ("OMP_WAIT_POLICY", "MKL_CBWR")


class Rival:
    """A contestant that trains one step per call, on `images` images, and measures the time itself."""

    def __init__(self, process: subprocess.Popen[str], images: int = 0) -> None:
        self.process, self.images = process, images
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def step(self) -> None:
        """Run one step and record its time."""
        assert self.process.stdin
        assert self.process.stdout
        print("step", file=self.process.stdin, flush=True)
        seconds, loss = map(float, self.process.stdout.readline().split())
        self.seconds.append(seconds)
        self.losses.append(loss)

    def forget(self) -> None:
        """Discard the times of other benchmarks."""
        self.seconds.clear()


class Rivals:
    """Naive baselines, one process per size, shared by the benchmarks of a module: starting takes seconds."""

    def __init__(self, device: str, threads: int, stack: ExitStack) -> None:
        self.options, self.stack = {"device": device, "threads": threads}, stack
        self.running: dict[tuple[Sizes, bool], Rival] = {}

    def __call__(self, sizes: Sizes, *, deformable: bool = False) -> Rival:
        """Return the naive baseline of these sizes, without times of other benchmarks."""
        key = sizes, deformable
        if key not in self.running:
            plain = {name: value for name, value in os.environ.items() if name not in SET_BY_MOEVAE}
            given = sizes.naive | self.options | {"deformable": deformable}
            naive = contestant("naive.py", given=given, environment=plain)
            self.running[key] = self.stack.enter_context(naive)
        self.running[key].forget()
        return self.running[key]


@contextmanager
def contestant(
    script: str,
    *words: str,
    given: Mapping[str, Any],
    environment: Mapping[str, str],
    python: str = sys.executable,
) -> Iterator[Rival]:
    """Run a script of this folder with the protocol of `Rival`; it ends with the block."""
    with subprocess.Popen(
        [python, str(Path(__file__).with_name(script)), *words, json.dumps(dict(given))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(environment),
    ) as process:
        yield Rival(process, given.get("batch", 0))
        assert process.stdin
        process.stdin.close()
