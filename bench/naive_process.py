"""Contestants in processes of their own: the naive baseline above all, with a reader's settings."""

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
    """One training step a call, on so many images, timed by the rival itself."""

    def __init__(self, process: subprocess.Popen[str], images: int = 0) -> None:
        self.process, self.images = process, images
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def step(self) -> None:
        """Have one step done and note what it took."""
        assert self.process.stdin
        assert self.process.stdout
        print("step", file=self.process.stdin, flush=True)
        seconds, loss = map(float, self.process.stdout.readline().split())
        self.seconds.append(seconds)
        self.losses.append(loss)

    def forget(self) -> None:
        """Drop the times that another benchmark left."""
        self.seconds.clear()


class Rivals:
    """Naive baselines, of each size one process, for all benchmarks of a module: starting takes seconds."""

    def __init__(self, device: str, threads: int, stack: ExitStack) -> None:
        self.asked, self.stack = {"device": device, "threads": threads}, stack
        self.there: dict[Sizes, Rival] = {}

    def __call__(self, sizes: Sizes) -> Rival:
        """Return the naive baseline of these sizes, without times of others."""
        if sizes not in self.there:
            plain = {name: value for name, value in os.environ.items() if name not in SET_BY_MOEVAE}
            naive = contestant("naive.py", given=sizes.naive | self.asked, environment=plain)
            self.there[sizes] = self.stack.enter_context(naive)
        self.there[sizes].forget()
        return self.there[sizes]


@contextmanager
def contestant(
    script: str,
    *words: str,
    given: Mapping[str, Any],
    environment: Mapping[str, str],
    python: str = sys.executable,
) -> Iterator[Rival]:
    """Start a script of this folder that answers as `Rival` asks, and end it."""
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
