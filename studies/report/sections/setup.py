"""The page's frame: what was run and where, what to know to read it, what was lost, how to make it anew."""

from __future__ import annotations

import functools
import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from moevae.config import schema as configs
from moevae.config.presets import PRESETS
from studies.analysis import paired, simultaneous, stats
from studies.analysis.study import Run, Study
from studies.report import markdown, tables
from studies.report.markdown import escape, prose
from studies.report.page import FOLDED, Page
from studies.report.sections import confounding

Tree = Mapping[str, Any]


def head(study: Study, page: Page) -> None:
    """Title, description, and whether the study is still running."""
    page.add(f"# {escape(study.title)}", prose(study.description))
    if study.partial:
        total = study.planned_cells * len(study.planned_seeds)
        others = len(study.missing_peers)
        page.add(
            f"> **Partial.** {total - len(study.missing)} of {total} planned runs have ended"
            + (f", and {others} of the baselines have not" if others else "")
            + "; the numbers below are of those that have."
        )


def provenance(study: Study, page: Page) -> None:
    """What was run and where."""
    complete = sum(run.complete for run in study.runs)
    others = [run for peer in study.peers for run in peer.runs]
    made = [*study.runs, *others]
    sizes = [len(values) for values in study.axes.values()]
    crossed = math.prod(sizes) == len(study.cells) > max(sizes, default=1)
    grid = f" ({' × '.join(map(str, sizes))})" if crossed else ""
    names = tables.words(study.axes)
    rows = [
        ("cells", f"{len(study.cells)}{grid}"),
        *((f"· {names[axis]}", ", ".join(texts)) for axis, texts in study.texts.items()),
        ("baseline", "none" if study.baseline is None else tables.describe(study, study.baseline)),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("runs", f"{complete} complete, {len(study.failed)} failed, {len(study.missing)} missing"),
        *([("baselines' runs", f"{sum(run.complete for run in others)} complete")] if others else []),
        ("data", _distinct(map(_data, made))),
        ("likelihood", _distinct(run.likelihood for run in study.runs)),
        ("hardware", _distinct(map(_hardware, made))),
        ("time", _time(made)),
        *(("energy", words) for words in _energy(study)),
        ("versions", _distinct(map(_versions, made))),
        ("commit", _distinct(map(_commit, made))),
    ]
    page.head("What was run, and where")
    shown = f"{study.name} "  # no other column has that name, whatever the study is called
    page.add(markdown.table([{"study": key, shown: value} for key, value in rows]))
    confounding.origins(study, page)


def reading(study: Study, page: Page) -> None:
    """How the numbers were made, and what so many seeds can show."""
    n = len(study.seeds)
    exact = f"exact up to {paired.EXACT} pairs" if n > paired.EXACT else "exact"
    least = f"with n = {n} it cannot fall below {paired.smallest_p(n):.2g}" if n > 1 else "one pair has none"
    sight = (
        "training never sees labels, but labels of the validation split chose these cells (oracle)"
        if study.oracle
        else "training and the choice of runs never see labels"
    )
    points = (
        "All numbers are of the test split, unless they say validation. NMI, ARI and ACC (one-to-one, "
        f"Hungarian) compare assignments with labels; {sight}.",
        "ECE and Brier: the gate's calibration, experts matched with classes on one half of the split and "
        "scored on the other; the halves are fixed by data.split_seed, the matching is part of the metric. "
        "Lower is better.",
        "ELBO is the mixture bound on log p(x), in nats per image: higher is better. Training speed is that "
        "of the whole population that a run trained in.",
        "A run that failed or is missing lowers n and is listed; nothing is put in its place.",
        "`mean ± standard deviation [interval]`: ddof = 1. The interval is Student's 95 % interval of the "
        "mean over seeds, the same in summary, tables and figures, left out where n = 1 or all runs agree"
        f"{_coverage(n)}. Intervals of differences in tables hold one at a time.",
        "Sentences of the summary rest on adjusted p: the share of rearrangements of the cells within each "
        "seed whose largest statistic reaches the observed one (max-T, Westfall & Young 1993; all of them or "
        f"{simultaneous.DRAWN:,} drawn at random). Where cells do not differ, whatever the distribution of "
        "their numbers, the chance of any false sentence is at most 5 % for the best cell (against the best "
        "of the sample, as in Hsu 1984; over cells and measures), for each axis (against a reference level, "
        "as in Dunnett 1955; over levels and measures), for interactions (and F tests with Bonferroni's "
        "correction besides; over pairs and measures), and for choosing without labels (by sign flips; over "
        "cells and rules). Where some cells differ and others only spread more, it is approximate. What does "
        "not differ significantly need not be equal.",
        "p: sign-flip permutation test of the paired differences over shared seeds, two-sided, "
        f"{exact}; {least}. Holm corrects for all rows of a table.",
        "P(better): chance that a run of this row is better than one of the baseline, ties half. Effect g: "
        "difference in standard deviations of runs (Hedges). Detectable: the minimum detectable effect, the "
        "smallest true difference of normal pairs of this spread that p (Holm) shows at 0.05 with "
        'probability 0.8 if no other row of the table differs; "none at this n" where no difference could.',
    )
    page.head("How to read the numbers")
    page.add("\n".join(f"- {point}" for point in points))


def _coverage(n: int) -> str:
    """Return how often the interval of n runs holds the mean, in words."""
    if n < 2:
        return ""
    known = stats.simulated(n)
    skewed, collapsing = stats.COVERAGE[known]
    return (
        f". At n = {known} it covers the mean of normal values 95 % of the time, of exponential (skewed) "
        f"values {skewed:.0%}, and of values of which one in five collapses {collapsing:.0%} (simulated)"
    )


def losses(study: Study, page: Page) -> None:
    """The runs that failed or are missing, and the files that could not be read."""
    rows = [
        {"cell": _cell(study, run.cell), "seed": str(run.seed), "what": f"failed{_when(run)}"}
        for run in study.failed
    ]
    rows += [
        {"cell": peer.name, "seed": str(run.seed), "what": f"failed{_when(run)}"}
        for peer in study.peers
        for run in peer.runs
        if not run.complete
    ]
    rows += [
        {"cell": _cell(study, cell), "seed": str(seed), "what": "missing: no record"}
        for cell, seed in study.missing
    ]
    rows += [
        {"cell": name, "seed": str(seed), "what": "missing: no record"} for name, seed in study.missing_peers
    ]
    if not (rows or study.unread):
        return
    page.head("Failed, missing, unread")
    page.rows(rows, 20, "[tables/runs.csv](tables/runs.csv)")
    page.add("\n".join(f"- not counted: {escape(reason)}" for reason in study.unread[:FOLDED]))
    if len(study.unread) > FOLDED:
        page.add(f"And {len(study.unread) - FOLDED} more files.")


def remaking(study: Study, page: Page) -> None:
    """The commands that make the study, this page and each of its rows anew."""
    page.head("Make it anew")
    steps = [(study.command, "the runs"), (f"nox -s report -- {shlex.quote(study.name)}", "this page")]
    width = max(len(typed) for typed, _ in steps)
    page.add(markdown.code([f"{typed:<{width}}  # {words}" for typed, words in steps if typed]))
    first = [runs[0] for cell in range(len(study.cells)) if (runs := study.of_cell(cell))]
    rows = [(tables.label(study, run.cell), command(run.record.config)) for run in first]
    if rows:
        lines = [f"{words}  # cell {cell}" for cell, words in rows[:FOLDED]]
        link = page.keep("commands", pd.DataFrame(rows, columns=["cell", "command"]))
        words = "One run of each cell; other seeds take another --seed"
        page.fold(words, markdown.code(lines), f"All {len(rows)} of them: {link}.")


def command(config: Tree) -> str:
    """Return what trains this configuration alone: the preset that it is nearest to, and what differs."""
    wanted = dict(configs.leaves(config))
    changes = {
        name: {key: value for key, value in wanted.items() if preset.get(key) != value and key != "seed"}
        for name, preset in _presets().items()
    }
    name = min(changes, key=lambda each: len(changes[each]))
    parts = ["python -m moevae train", f"--preset {name}", f"--seed {wanted['seed']}"]
    parts += [f"--set {shlex.quote(f'{key}={_value(value)}')}" for key, value in changes[name].items()]
    return " ".join(parts)


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    return {name: dict(configs.leaves(configs.to_dict(make()))) for name, make in PRESETS.items()}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(study: Study, cell: int) -> str:
    return f"{tables.label(study, cell)} ({tables.describe(study, cell)})"


def _when(run: Run) -> str:
    failure = run.record.failure
    if failure is None:
        return ", no reason left"
    return f"{'' if failure.epoch is None else f' in epoch {failure.epoch}'}: {failure.reason}"


def _data(run: Run) -> str:
    data = run.record.data
    sizes = f"{data.train:,} train, {data.validation:,} validation, {data.test:,} test"
    labels = f", labels {data.labels_sha256[:16]}" if data.labels_sha256 else ""
    return f"{data.name}: {sizes}, sha256 {data.sha256[:16]}{labels}"


def _hardware(run: Run) -> str:
    hardware = run.record.hardware
    return (
        f"{hardware.device_name} ({hardware.device}, {run.record.precision}, {hardware.threads} threads, "
        f"{hardware.cores} cores, {hardware.memory_gib:.0f} GiB)"
    )


def _versions(run: Run) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(run.record.versions.items()))


def _commit(run: Run) -> str:
    commit = run.record.commit
    return (
        "unknown" if commit is None else f"{commit[:12]}{' (with local changes)' if run.record.dirty else ''}"
    )


def _time(runs: Iterable[Run]) -> str:
    """Return the time of all populations: a run's seconds are those of the population it shared."""
    total = sum(
        (run.record.seconds.train + run.record.seconds.evaluation) / run.record.throughput.population
        for run in runs
        if run.record.seconds and run.record.throughput
    )
    return f"{total:,.0f} s of training and evaluation, all runs together"


def _energy(study: Study) -> list[str]:
    """Return the energy of all populations, where their devices reported it."""
    told = [run.record for run in study.runs if run.record.energy_joules is not None]
    if not told:
        return []
    total = sum(
        (record.energy_joules or 0) / record.throughput.population for record in told if record.throughput
    )
    return [f"{total / 1000:,.1f} kJ of training, as the device reports it, {len(told)} runs together"]


def _distinct(values: Iterable[str]) -> str:
    """Return the distinct values, most frequent first, with the count where there are several."""
    found = Counter(values)
    if len(found) < 2:
        return "".join(found) or "–"
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{value} ({count} runs)" for value, count in ordered)
