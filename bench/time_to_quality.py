"""Processor time until a clustering reaches some values of NMI, of moevae and of other packages.

python bench/time_to_quality.py --output results/time-to-quality-cpu.json
python bench/time_to_quality.py --data fashion-mnist --output results/time-to-quality-fashion-mnist-cpu.json

All methods have the same images, one thread, and the same budget of processor time. Labels only score the
test images. The file is written after each run, and a run that is in it is not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import moevae  # noqa: F401 - before torch, whose libraries read the variables that it sets

# isort: split
import torch
from clock import BudgetSpentError, Clock
from contenders import METHODS, Task

from moevae.config.presets import preset
from moevae.data.datasets import Images, Labels, load_images, load_labels
from moevae.errors import MoevaeError, RecordError
from moevae.evaluation.clustering import clustering
from moevae.utils import devices, provenance
from studies.execution.record_fields import data_of
from studies.records import race as races
from studies.records.race import Point, Race, RaceOrigin, RaceRun
from studies.records.schema import Hardware

TARGETS = {"mnist": (0.90, 0.95), "fashion-mnist": (0.60, 0.65)}
"""Values of NMI, by data set."""
PACKAGES = ("clustpy", "umap-learn")


def train(name: str, task: Task) -> bool:
    """Train a method; return whether it ended by itself, before its budget was spent."""
    try:
        METHODS[name].train(task)
    except BudgetSpentError:
        return False
    return True


def begun(output: Path, asked: Race) -> Race:
    """Return the race of a file; the asked one if there is no file.

    Raises:
        RecordError: the race of the file has other data, another budget or another pretraining.
    """
    if not output.exists():
        return asked
    race = races.read(output)
    for name in ("data", "budget", "pretraining", "targets"):
        if (there := getattr(race, name)) != (wanted := getattr(asked, name)):
            raise RecordError(f"{output}: {name} is {there}, asked for is {wanted}; choose another --output")
    return race


def compete(race: Race, images: Images, labels: Labels, methods: list[str], seeds: int, output: Path) -> Race:
    """Train each method with each seed, and write the curves to a file after each run."""
    wanted = {
        name: of
        for name, of in METHODS.items()
        if (name in methods or not methods) and of.data in (None, images.name)
    }
    names = [name for name, of in wanted.items() if of.available()]
    if left_out := [name for name in wanted if name not in names]:
        print(f"not installed: {', '.join(left_out)}", flush=True)
    done = {(run.method, run.seed) for run in race.runs}

    def score(clusters: Any) -> dict[str, float]:
        metrics = clustering(clusters, labels.test)
        return {name: round(metrics[name], 4) for name in ("nmi", "acc")}

    for seed in range(seeds):
        kept: dict[str, Any] = {}
        for name in names:
            if (name, seed) in done:
                continue
            clock = Clock(race.budget, score)
            task = Task(images, len(labels.classes), seed, clock, race.pretraining, kept)
            ended = train(name, task)
            if not clock.curve:
                print(f"{name}, seed {seed}: no clusters within the budget, no run recorded", flush=True)
                continue
            run = RaceRun(
                method=name,
                seed=seed,
                ended=ended,
                seconds=clock.spent,
                curve=[Point(**point) for point in clock.curve],
                origin=0,
                load_average=os.getloadavg()[0],
            )
            race = race.with_run(run, origin())
            races.write(output, race)
            print(f"{name}, seed {seed}: NMI {run.end.nmi:.3f} in {run.seconds:.0f} s", flush=True)
    return race


def origin() -> RaceOrigin:
    """Return where the numbers come from."""
    commit, dirty = provenance.commit()
    versions = dict(provenance.versions())
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    hardware = Hardware(**devices.describe(torch.device("cpu")))
    return RaceOrigin(hardware=hardware, versions=versions, commit=commit, dirty=dirty)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", choices=list(TARGETS), default="mnist")
    parser.add_argument("--methods", nargs="*", default=[], choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=360, help="processor time of a run, in seconds")
    parser.add_argument("--pretraining", type=int, default=6, help="epochs of pretraining of a peer")
    options = parser.parse_args()
    devices.prepare(1)
    data = preset(f"deformable-{options.data}").data
    images, labels = load_images(data), load_labels(data)
    assert labels
    asked = Race(
        data=data_of(images, labels),
        budget=options.budget,
        pretraining=options.pretraining,
        targets=TARGETS[options.data],
    )
    try:
        race = begun(options.output, asked)
    except MoevaeError as error:
        print(error, file=sys.stderr)
        return 2
    compete(race, images, labels, options.methods, options.seeds, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
