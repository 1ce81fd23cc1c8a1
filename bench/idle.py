"""Training steps on all cores, which are shared with other processes, for `test_regimes.py`."""

from __future__ import annotations

import json
import sys
import time

from sizes import PLANS

import moevae  # noqa: F401 - before torch, whose libraries read the variables that it sets

# isort: split
import torch
from steps import training_step

from moevae.utils import devices


def main() -> None:
    """Answer every line on standard input with the seconds of one training step and its loss."""
    given = json.loads(sys.argv[1])
    devices.prepare(given["threads"])
    step = training_step(PLANS[given["size"]].small, torch.device("cpu"))
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = float(step().mean())
        print(time.perf_counter() - start, loss, flush=True)


if __name__ == "__main__":
    main()
