"""Results of trained runs as tables and sentences on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import torch
from tabulate import tabulate

from moevae.config.registry import METRICS
from moevae.evaluation import class_overlap
from moevae.evaluation.scores import Score
from moevae.utils import devices

ABOUT_LABELS = (
    "acc, nmi, ari and the gate's calibration (ece and brier: lower is better)\n"
    "compare with the labels, which training does not use"
)
_COLUMNS = 5
"""Number of columns of numbers that fit in 80 characters."""


def table(scores: Sequence[Score], names: Sequence[str]) -> str:
    """Return the metrics of runs as a table with units.

    Args:
        scores: scores of the runs; for seeds of one cell, mean and standard deviation (ddof = 1) are added.
        names: column of each run.
    """
    columns = list(zip(names, (each.metrics for each in scores), strict=True))
    known = sorted(METRICS, key=lambda name: METRICS[name].labels)  # metrics that use labels come last
    shown = [name for name in known if METRICS[name].scale and any(name in each.metrics for each in scores)]
    if len(scores) > 1 and are_seeds_of_one_cell(scores):
        values = {name: [each.metrics[name] for each in scores] for name in shown}
        columns.append(("mean", {name: fmean(some) for name, some in values.items()}))
        columns.append(("std", {name: stdev(some) for name, some in values.items()}))
    blocks = [columns[start : start + _COLUMNS] for start in range(0, len(columns), _COLUMNS)]
    return "\n\n".join(
        tabulate(
            [[name, METRICS[name].scale, *(_shown(name, metrics) for _, metrics in block)] for name in shown],
            headers=["", "unit", *(head for head, _ in block)],
            disable_numparse=True,
            colalign=("left", "left", *("right" for _ in block)),
        )
        for block in blocks
    )


def are_seeds_of_one_cell(scores: Sequence[Score]) -> bool:
    """Return whether runs differ in their seeds only.

    Args:
        scores: scores of the runs.
    """
    cells = {replace(each.config, seed=0) for each in scores}
    return len(cells) == 1 and len({each.config.seed for each in scores}) == len(scores)


def loads(scores: Sequence[Score], names: Sequence[str]) -> str:
    """Return the load of the experts, the share of images assigned to each, one paragraph per run.

    Args:
        scores: scores of the runs.
        names: name of each run.
    """
    return "\n".join(
        textwrap.fill(
            " ".join(f"{share:.0%}" for share in each.load),
            width=79,
            initial_indent=f"load of experts 0 to {len(each.load) - 1}, {name}: ",
            subsequent_indent="  ",
        )
        for each, name in zip(scores, names, strict=True)
    )


def shared(scores: Sequence[Score], names: Sequence[str]) -> str:
    """Return which classes are merged in one expert or split over several, one paragraph per run.

    Args:
        scores: scores of the runs; those without labels are left out.
        names: name of each run.
    """
    overlaps = {
        name: class_overlap.describe_overlap(np.array(each.confusion.counts), each.confusion.classes)
        for each, name in zip(scores, names, strict=True)
        if each.confusion
    }
    return "\n".join(
        textwrap.fill(f"{name}: {'; '.join(sentences)}", width=79, subsequent_indent="  ")
        for name, sentences in overlaps.items()
        if sentences
    )


def hardware(device: torch.device, precision: str = "float32") -> str:
    """Return the hardware that speeds were measured on, such as `cpu (AMD EPYC, float32, 2 threads)`.

    Args:
        device: the device.
        precision: data type of the computation.
    """
    about = devices.describe(device, precision)
    threads = f"{about['threads']} thread{'' if about['threads'] == 1 else 's'}"
    return f"{about['device']} ({about['device_name']}, {about['precision']}, {threads})"


def _shown(name: str, values: dict[str, float]) -> str:
    return f"{values[name]:.{METRICS[name].digits}f}" if name in values else ""
