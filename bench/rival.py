"""The naive baseline in a process of its own, with the settings that a reader would have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sizes import Sizes

SET_BY_MOEVAE = ("OMP_WAIT_POLICY", "MKL_CBWR")


class Rival:
    """One training step a call, timed by the rival itself."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
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
        """Drop what the warm-up left."""
        self.seconds.clear()


@contextmanager
def rival(sizes: Sizes, device: str, threads: int) -> Iterator[Rival]:
    """Start the naive baseline with these sizes, and end it."""
    given = sizes.naive | {"device": device, "threads": threads}
    names = [name for name in os.environ if name not in SET_BY_MOEVAE]
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("naive.py")), json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: os.environ[name] for name in names},
    ) as process:
        yield Rival(process)
        assert process.stdin
        process.stdin.close()
