"""The section of the throughput page on time to quality, and its figure, from `time-to-quality-*.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from matplotlib.figure import Figure
from tabulate import tabulate

from studies.records.race import OWN, Race, RaceOrigin, RaceRun

TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}


def heading(race: Race) -> str:
    """Return the question of the section."""
    targets = " and ".join(map(_nmi, race.targets))
    return f"How soon does a clustering of {TITLES.get(race.data.name, race.data.name)} reach NMI {targets}?"


def section(race: Race) -> list[str]:
    """Return the section, with its answer in the first line."""
    rows = []
    for name, own in race.by_method().items():
        reached = {target: [first(run, target) for run in own] for target in race.targets}
        rows.append(
            {
                "": name,
                "seeds": str(len(own)),
                "NMI at the end": _middle([run.end.nmi for run in own]),
                "best NMI": _middle([max(point.nmi for point in run.curve) for run in own]),
                **{f"NMI {_nmi(target)} after": _after(times) for target, times in reached.items()},
                "trained": f"{median(run.seconds for run in own):.0f} s",
            }
        )
    words = (
        "Processor time of one core, median over seeds. All methods have the same "
        f"{race.data.train:,} training images without labels, and a budget of {race.budget:g} s; imports, "
        "compilation, reading the images and scoring are off the clock. Labels only score the test images, "
        "after each epoch. ClustPy's methods have their default settings, except that pretraining takes "
        f"{race.pretraining} epochs, and clustering the rest of the budget; their defaults are 100 epochs of "
        "pretraining and 150 of clustering. Except for VaDE, the methods that cluster the codes of an "
        "autoencoder share that of their seed, and its time counts for each. "
        f"{' '.join([*map(_made, race.origins), *_load(race)])}"
    )
    return [
        f"## {heading(race)}",
        f"**{' '.join(_answer(race, target) for target in race.targets)}**",
        tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True),
        words,
    ]


NOT_REACHED = "not reached"


def _made(origin: RaceOrigin) -> str:
    """Return where runs were made."""
    commit = f"commit {(origin.commit or 'unknown')[:12]}{' (changed)' if origin.dirty else ''}"
    names = [name for name in ("clustpy", "umap-learn", "torch") if name in origin.versions]
    packages = ", ".join(f"{name} {origin.versions[name]}" for name in names)
    return f"Made at {commit} on {origin.hardware.device_name} with {packages}."


def _load(race: Race) -> list[str]:
    loads = [run.load_average for run in race.runs if run.load_average is not None]
    return [f"Load of the machine: {min(loads):.1f} to {max(loads):.1f}, where recorded."] if loads else []


def first(run: RaceRun, target: float) -> float | None:
    """Return the processor time at which a run first has a NMI; None if it never has."""
    return next((point.seconds for point in run.curve if point.nmi >= target), None)


def fastest(race: Race, target: float, *, own: bool) -> tuple[float, str]:
    """Return the shortest median time to a NMI and its method: of moevae, or of the other packages.

    A seed that does not reach it counts as infinite, and so does the time if there is no method.
    """
    times = {
        name: median(math.inf if (time := first(run, target)) is None else time for run in runs)
        for name, runs in race.by_method().items()
        if name.startswith(OWN) is own
    }
    return min(((time, name) for name, time in times.items()), default=(math.inf, ""))


def _answer(race: Race, target: float) -> str:
    """Return the fastest method, and its time in proportion to that of the fastest other package."""
    words, budget = f"NMI {_nmi(target)}:", race.budget
    (ours, name), (theirs, peer) = (fastest(race, target, own=own) for own in (True, False))
    if not any(each.startswith(OWN) for each in race.by_method()):
        reached = f"{peer} after {theirs:.0f} s" if math.isfinite(theirs) else "not reached"
        return f"{words} {reached} (methods of other packages only)."
    if math.isinf(ours):
        reached = f"{peer} after {theirs:.0f} s" if math.isfinite(theirs) else "no other method either"
        return f"{words} not reached by moevae within {budget:g} s, {reached}."
    if math.isinf(theirs):
        more = f"more than {_ratio(budget, ours)} times as fast as any other method"
        return (
            f"{words} {name}, {ours:.0f} s, {more}, whose median run does not reach it within {budget:g} s."
        )
    return f"{words} {name}, {ours:.0f} s, {_ratio(theirs, ours)} times as fast as {peer}, {theirs:.0f} s."


def _ratio(slow: float, fast: float) -> str:
    return f"{slow / fast:.2g}" if slow < 10 * fast else f"{slow / fast:.0f}"


def _after(times: Sequence[float | None]) -> str:
    """Return the median over seeds, where a seed that does not reach the target counts as infinite."""
    middle = median(math.inf if each is None else each for each in times)
    return NOT_REACHED if math.isinf(middle) else f"{middle:.0f} s"


def _middle(values: Sequence[float]) -> str:
    return _nmi(round(median(values), 3)) if values else "–"


def _nmi(value: float) -> str:
    return f"{value:.3f}".lstrip("0").rstrip("0").ljust(3, "0")


def figure(race: Race) -> Figure:
    """Plot the NMI of each run against processor time."""
    drawn = Figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
    axes = drawn.subplots()
    for number, (name, runs) in enumerate(race.by_method().items()):
        for run in runs:
            label = name if run is runs[0] else None
            places = [point.seconds for point in run.curve]
            values = [point.nmi for point in run.curve]
            axes.plot(places, values, marker=".", color=f"C{number}", label=label, linewidth=1)
    for target in race.targets:
        axes.axhline(target, color="0.6", linestyle=":", linewidth=1)
    axes.set(xlabel="processor time (s)", ylabel="NMI of the test images", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return drawn
