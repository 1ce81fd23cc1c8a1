"""Processor time until a clustering of MNIST reaches NMI .90 and .95, of moevae and of other packages.

python bench/time_to_quality.py --output results/time-to-quality-cpu.json

All methods have the same images, one thread, and the same budget of processor time. Labels only score the
test images. The file is written after each run, and a run that is in it is not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import moevae  # noqa: F401 - before torch, whose libraries read the variables that it sets

# isort: split
import torch
from clock import BudgetSpentError, Clock
from contenders import METHODS, Task

from moevae.config.presets import preset
from moevae.data.datasets import Images, Labels, load_images, load_labels
from moevae.evaluation.clustering import clustering
from moevae.utils import devices, provenance

TARGETS = (0.90, 0.95)


def race(name: str, task: Task) -> bool:
    """Train a method; return whether it ended by itself, before its budget was spent."""
    try:
        METHODS[name].train(task)
    except BudgetSpentError:
        return False
    return True


def compete(
    images: Images,
    labels: Labels,
    methods: list[str],
    seeds: int,
    budget: float,
    pretraining: int,
    output: Path,
) -> dict[str, Any]:
    """Train each method with each seed, and write the curves to a file after each run."""
    found: dict[str, Any] = {"runs": []}
    if output.exists():
        found = json.loads(output.read_text())
    done = {(run["method"], run["seed"]) for run in found["runs"]}
    wanted = {name: of for name, of in METHODS.items() if name in methods or not methods}
    names = [name for name, of in wanted.items() if of.available()]
    found |= {
        "origin": origin(),
        "images": images.name,
        "budget": budget,
        "pretraining": pretraining,
        "targets": TARGETS,
        "left_out": [name for name in wanted if name not in names],
    }

    def score(clusters: Any) -> dict[str, float]:
        metrics = clustering(clusters, labels.test)
        return {name: round(metrics[name], 4) for name in ("nmi", "acc")}

    for seed in range(seeds):
        kept: dict[str, Any] = {}
        for name in names:
            if (name, seed) in done:
                continue
            clock = Clock(budget, score)
            ended = race(name, Task(images, len(labels.classes), seed, clock, pretraining, kept))
            run = {"method": name, "seed": seed, "ended": ended, "seconds": clock.spent, "curve": clock.curve}
            found["runs"].append(run)
            found["origin"]["load_average"] = os.getloadavg()[0]
            output.write_text(json.dumps(found, indent=1) + "\n")
            best = max((point["nmi"] for point in clock.curve), default=0)
            print(f"{name}, seed {seed}: best NMI {best:.3f} in {clock.spent:.0f} s", flush=True)
    return found


def origin() -> dict[str, Any]:
    """Return where the numbers come from."""
    commit, dirty = provenance.commit()
    versions = dict(provenance.versions())
    with contextlib.suppress(PackageNotFoundError):
        versions["clustpy"] = version("clustpy")
    return {
        "hardware": devices.describe(torch.device("cpu")),
        "versions": versions,
        "commit": commit,
        "dirty": dirty,
    }


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=[], choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=300, help="processor time of a run, in seconds")
    parser.add_argument("--pretraining", type=int, default=6, help="epochs of pretraining of a peer")
    options = parser.parse_args()
    devices.prepare(1)
    data = preset("deformable-mnist").data
    images, labels = load_images(data), load_labels(data)
    assert labels
    compete(
        images, labels, options.methods, options.seeds, options.budget, options.pretraining, options.output
    )


if __name__ == "__main__":
    main()
