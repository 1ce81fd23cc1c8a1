"""Contestants in processes of their own: the naive baseline above all, with a reader's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    plain = {name: value for name, value in os.environ.items() if name not in SET_BY_MOEVAE}
    with contestant(
        "naive.py", given=sizes.naive | {"device": device, "threads": threads}, environment=plain
    ) as found:
        yield found


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
        yield Rival(process)
        assert process.stdin
        process.stdin.close()
