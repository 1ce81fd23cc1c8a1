"""Section: merged and split classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from moevae.data.classes import MAX_SHOWN as LARGEST
from moevae.data.classes import largest
from moevae.evaluation import class_overlap as merging
from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.records import store
from studies.report import tables
from studies.report.page import Page
from studies.utils.formatting import exact

PAIRS = 8
"""Largest number of pairs of classes in the table of shared experts."""
SHOWN_CELLS = 40
"""Number of rows of that table that are not collapsed."""


def shared_experts(analysis: Analysis, page: Page) -> None:
    """Count, for each cell, the runs in which pairs of classes share an expert."""
    study = analysis.study
    found = {cell: _pairs_of_runs(study.of_cell(cell)) for cell in range(len(study.cells))}
    found = {cell: runs for cell, runs in found.items() if runs}
    every = [pairs for runs in found.values() for pairs in runs]
    total = Counter(pair for pairs in every for pair in pairs)
    if len(found) < 2 or not total:
        return
    ordered = sorted(total, key=lambda pair: (-total[pair], pair))
    rows = [
        {
            "cell": "all",
            **dict.fromkeys(tables.setting_columns(study, 0), ""),
            **_shared(every, ordered[:PAIRS]),
        }
    ]
    rows += [
        {
            "cell": cell_stats.label(study, cell),
            **tables.setting_columns(study, cell),
            **_shared(runs, ordered[:PAIRS]),
        }
        for cell, runs in found.items()
    ]
    link = page.keep(
        "shared-experts",
        pd.DataFrame(
            {
                "cell": cell_stats.label(study, cell),
                **{axis: exact(study.value(cell, axis)) for axis in study.axes},
                "classes": " and ".join(pair),
                "runs": sum(pair in pairs for pairs in runs),
                "of": len(runs),
            }
            for cell, runs in found.items()
            for pair in ordered
        ),
    )
    many = f"the {PAIRS} most frequent of {len(ordered)} pairs"
    counted = many if len(ordered) > PAIRS else "all pairs that do in some run"
    page.head("Classes that share an expert")
    page.add(
        f"Two classes share an expert if it wins more than {100 * merging.MERGED:.0f} % of each, by the "
        "gate, on the test split. The column *pairs* is the mean number of such pairs in a run. The others "
        f"count the runs in which a pair shares an expert, for {counted}; {link} has all of them. The row "
        "*all* is of the runs of all cells together."
    )
    page.rows(rows, SHOWN_CELLS, link)


def _shared(runs: Sequence[set[tuple[str, str]]], shown: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the mean number of pairs in a run, and the number of runs with each of the shown pairs."""
    counts = {" and ".join(pair): sum(pair in pairs for pairs in runs) for pair in shown}
    return {"n": str(len(runs)), "pairs": f"{np.mean([len(pairs) for pairs in runs]):.2f}"} | {
        name: str(count) for name, count in counts.items()
    }


def _pairs_of_runs(runs: Sequence[StudyRun]) -> list[set[tuple[str, str]]]:
    """Return the pairs of classes that share an expert at the end of each run that has labels."""
    ends = [_end(run) for run in runs if run.complete and run.record.confusion]
    return [set(_merged_pairs(counts, classes)) for counts, classes in ends]


def _end(run: StudyRun) -> tuple[np.ndarray, list[str]]:
    """Return counts of test images by expert and class, and the classes: the largest only."""
    table = run.record.confusion
    assert table is not None
    counts = np.array(table.counts)
    shown = largest(counts)
    return counts[:, shown], [table.classes[place] for place in shown]


def _merged_pairs(counts: np.ndarray, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of classes that share an expert."""
    groups = merging.merged(counts).values()
    return [(classes[a], classes[b]) for together in groups for a, b in combinations(together, 2)]


def merged_and_split(analysis: Analysis, page: Page) -> None:
    """Count the runs of the reference cell in which classes share an expert or are split."""
    study, cell = analysis.study, analysis.study.reference or 0
    ends, histories, most = [], [], 0
    for run in study.of_cell(cell):
        if table := run.record.confusion:
            counts = np.array(table.counts)
            shown = largest(counts)
            classes, most = [table.classes[place] for place in shown], max(most, len(table.classes))
            ends.append(_events(counts[:, shown], classes))
            histories.append([_events(each[:, shown], classes) for each in history(study, run).values()])
    if not ends:
        return
    n, looked = len(ends), sum(bool(epochs) for epochs in histories)
    page.head("Merged and split classes")
    page.add(
        "Two classes share an expert if it wins more than "
        f"{100 * merging.MERGED:.0f} % of each. A class is split if at least two experts win at least "
        f"{100 * merging.SPLIT:.0f} % of it each. {sum(not found for found in ends)} of the {n} runs of cell "
        f"{cell_stats.label(study, cell)} end with neither, on the test split."
        + (f" The table covers the {LARGEST} largest of {most:,} classes." if most > LARGEST else "")
    )
    final = Counter(event for found in ends for event in found)
    ever = Counter(event for epochs in histories for event in set().union(*epochs))
    if not final | ever:
        return
    page.add(
        "The column *at the end* counts on the test split. "
        + (
            "The column *while it trained* counts runs in which this holds after any epoch, on validation "
            "images."
            if looked
            else "No run held out validation images."
        )
    )
    rows = [
        {
            "what": event,
            "at the end": f"{final[event]} of {n} runs",
        }
        | (
            {
                "while it trained": f"{ever[event]} of {looked} runs",
                "since epoch (median)": _since(event, histories) if final[event] else "–",
            }
            if looked
            else {}
        )
        for event in sorted(final | ever, key=lambda event: (-final[event], -ever[event], event))
    ]
    page.rows(rows, 10, file="sharing")


def history(study: Study, run: StudyRun) -> dict[int, np.ndarray]:
    """Return counts of validation images by epoch, [experts, classes] each; empty if not recorded.

    Args:
        study: the study.
        run: the run.
    """
    curve = store.read(store.path_of(study.folder, run.record.fingerprint)).curve
    return {
        epoch: np.array([row.split() for row in table.split(";")], dtype=int)
        for epoch, table in zip(curve.epoch, curve.confusion, strict=False)
        if table
    }


def _events(counts: np.ndarray, classes: Sequence[str]) -> set[str]:
    """Return descriptions of merges and splits without indices of experts, which differ between runs."""
    return {f"{a} and {b} share an expert" for a, b in _merged_pairs(counts, classes)} | {
        f"{classes[c]} is split" for c in merging.split(counts)
    }


def _since(event: str, histories: Sequence[Sequence[set[str]]]) -> str:
    """Return the median first epoch from which an event held until the end of a run."""
    begun = []
    for epochs in histories:
        without = [number for number, found in enumerate(epochs, 1) if event not in found]
        start = max(without, default=0) + 1
        if start <= len(epochs):
            begun.append(start)
    return f"{np.median(begun):g}" if begun else "–"
