"""Section: merged and split classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from moevae.data.classes import MAX_SHOWN as LARGEST
from moevae.data.classes import largest
from moevae.evaluation import class_overlap as merging
from studies.analysis import cell_stats
from studies.analysis.analyze import Analysis
from studies.analysis.runs import StudyRun
from studies.analysis.study import Study
from studies.records import store
from studies.report.page import Page


def merged_and_split(analysis: Analysis, page: Page) -> None:
    """Count the runs of the reference cell in which classes share an expert or are split."""
    study, cell = analysis.study, analysis.study.baseline or 0
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
        f"{merging.MERGED:.0%} of each. A class is split if at least two experts win at least "
        f"{merging.SPLIT:.0%} of it each. {sum(not found for found in ends)} of the {n} runs of cell "
        f"{cell_stats.label(study, cell)} end with neither. The column *at the end* counts on the test "
        "split. "
        + (
            "The column *while it trained* counts runs in which this holds after any epoch, on validation "
            "images."
            if looked
            else "No run held out validation images."
        )
        + (f" The table covers the {LARGEST} largest of {most:,} classes." if most > LARGEST else "")
    )
    final = Counter(event for found in ends for event in found)
    ever = Counter(event for epochs in histories for event in set().union(*epochs))
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
    """Return counts of validation images by epoch, [experts, classes] each; empty if not recorded."""
    record = store.read(store.path_of(study.folder, run.record.fingerprint))
    return {
        point.epoch: np.array([row.split() for row in point.confusion], dtype=int)
        for point in record.curve
        if point.confusion
    }


def _events(counts: np.ndarray, classes: Sequence[str]) -> set[str]:
    """Return descriptions of merges and splits without indices of experts, which differ between runs."""
    pairs = (pair for together in merging.merged(counts).values() for pair in combinations(together, 2))
    return {f"{classes[a]} and {classes[b]} share an expert" for a, b in pairs} | {
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
