"""Timing of steps, in alternating rounds of the contestants."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import memory
import numpy as np
import torch
from naive import clock
from naive_process import Rival

Step = Callable[[], Any]

WARM_UP = 2
SLOW, SLOW_ROUNDS = 0.6, 5
"""A round of more seconds, of all contestants, is repeated so often at most, unless its row has a target."""
GEMM = {"cpu": 1024, "cuda": 8192}
"""Size of the square matrices whose product defines the peak: large enough to fill the device."""


class Stopwatch:
    """The timer of one benchmark, and of the contestants between its rounds."""

    def __init__(self, benchmark: Any, rounds: int, device: torch.device) -> None:
        self.benchmark, self.rounds, self.device = benchmark, rounds, device
        self.clock = time.perf_counter

    def __call__(
        self,
        row: str,
        step: Step,
        *,
        images: int,
        flops: int | None = None,
        rival: Rival | None = None,
        against: Rival | None = None,
        versus: Step | None = None,
        dtype: torch.dtype = torch.float32,
        tf32: bool = False,
        rounds: int | None = None,
        target: float | None = None,
        target_share: float | None = None,
        wall: bool = False,
        **facts: Any,
    ) -> list[Any]:
        """Time a step and return the results of its rounds.

        Args:
            row: name of the row.
            step: the function that is timed.
            images: number of images of a step, summed over runs.
            flops: exact operations per image.
            rival: the naive baseline, which trains a step before each round. For several runs it has the
                images of one run only, because it would train the runs one after another.
            against: another contestant to compare with, which measures its own time.
            versus: a step to compare with, timed before each round.
            dtype: data type of the matrix products.
            tf32: whether the step and the product that defines the peak may round to TensorFloat-32.
            rounds: number of rounds; None uses the number of the plan, or `SLOW_ROUNDS` if they are slow.
            target: smallest ratio to the other contestant that is fast enough; None has no target.
            target_share: smallest share of the peak that is fast enough; None has no target.
            wall: whether to measure the time of the clock where the default is processor time.
            facts: the swept variable of the row, and its value.
        """
        self.clock = time.perf_counter if wall else clock(self.device.type, torch.get_num_threads())
        step = tensor_float_32(step) if tf32 else step
        size = GEMM.get(self.device.type, 1024)
        product = self._product(dtype, size) if flops else None
        product = tensor_float_32(product) if product and tf32 else product
        ours: list[float] = []
        theirs: list[float] = []
        peaks: list[float] = []
        results: list[Any] = []

        def before() -> None:
            if rival:
                rival.step()
            if against:
                against.step()
                theirs.append(against.seconds[-1])
            if versus:
                theirs.append(self._seconds(versus))
            if product:
                peaks.append(2 * size**3 / self._seconds(product))

        def timed() -> None:
            ours.append(self._seconds(lambda: results.append(step())))

        targets = {
            name: value
            for name, value in {"target": target, "target_share": target_share}.items()
            if value is not None
        }
        held = memory.reset(self.device)
        for _ in range(WARM_UP):
            begin = time.process_time()
            before()
            timed()
            slow = time.process_time() - begin + (rival.seconds[-1] if rival else 0) > SLOW
        few = slow and not targets
        first, count = ours[0], rounds or (min(self.rounds, SLOW_ROUNDS) if few else self.rounds)
        for warm in (ours, theirs, peaks, *([rival.seconds] if rival else [])):
            warm.clear()
        self.benchmark.pedantic(timed, setup=before, rounds=count, iterations=1)
        seconds = float(np.median(ours))
        info = self.benchmark.extra_info
        info |= {
            "row": row,
            "facts": facts,
            "images": images,
            "images_per_second": images / seconds,
            "unit": "images/s, from the median round",
            "seconds": _spread(ours),
            "first_call_seconds": first,
            "peak_memory_mib": round((memory.peak(self.device) - held) / 2**20, 1),
            "rounds": count,
            "device": self.device.type,
            "dtype": str(dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }
        if flops:
            peak = float(np.median(peaks))
            info |= {
                "flops_per_image": flops,
                "peak_gflops": peak / 1e9,
                "share_of_peak": flops * images / seconds / peak,
            }
        if rival:
            info["ratio_to_naive"] = _spread(np.divide(rival.seconds, ours) * images / rival.images)
        info |= targets
        if theirs:
            info["ratio_to_beside"] = _spread(np.divide(theirs, ours))
        return results

    def _seconds(self, step: Step) -> float:
        """Return the duration of a step: by events on a GPU, by `clock` on other devices."""
        if self.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(self.device)
            start.record()
            step()
            end.record()
            torch.cuda.synchronize(self.device)
            return start.elapsed_time(end) / 1e3
        begin = self.clock()
        step()
        return self.clock() - begin

    def _product(self, dtype: torch.dtype, size: int) -> Step:
        stream = torch.Generator(self.device).manual_seed(0)
        a, b, c = (torch.randn(size, size, generator=stream, device=self.device).to(dtype) for _ in range(3))
        return lambda: torch.mm(a, b, out=c)


def tensor_float_32(step: Step) -> Step:
    """Return the step with products of float32 in TensorFloat-32, if the device supports it."""

    def rounded() -> Any:
        torch.set_float32_matmul_precision("high")
        try:
            return step()
        finally:
            torch.set_float32_matmul_precision("highest")

    return rounded


def _spread(values: Any) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "q1": float(low), "q3": float(high), "n": len(values)}
