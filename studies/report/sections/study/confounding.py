"""Section: machines, commits and precisions that are confounded with levels of an axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from studies.analysis import effects
from studies.analysis.runs import StudyRun
from studies.analysis.study import DATA, Study
from studies.report import tables
from studies.report.markdown import escape
from studies.report.page import Page
from studies.utils.formatting import count, show

MAX_VALUES = 3
"""Number of values of a factor that are named for a level; others are counted."""
MAX_LISTED = 6
"""Number of confounded levels that are named; others are counted."""
SHOWN_ROWS = 12
"""Number of table rows that are not collapsed."""


def _machine(run: StudyRun) -> str:
    return run.record.hardware.device_name


def _commit(run: StudyRun) -> str:
    commit = run.record.commit
    return "unknown" if commit is None else f"{commit[:7]}{' (changed)' if run.record.dirty else ''}"


def _precision(run: StudyRun) -> str:
    return run.record.hardware.precision


FACTORS: Mapping[str, Callable[[StudyRun], str]] = {
    "machine": _machine,
    "commit": _commit,
    "precision": _precision,
}
"""Factors other than the configuration that may affect results."""

PLURALS = {"machine": "machines", "commit": "commits", "precision": "precisions"}


Counts = Mapping[str, Mapping[str, Counter[str]]]
"""Number of runs by factor, level and value."""


@dataclass(frozen=True)
class Origins:
    """Values of the factors in the runs of each level of an axis."""

    axis: str
    """Name of the axis, in words."""
    reference: str
    """The reference level."""
    counts: Counts
    """Those of factors whose shares differ between levels."""

    def confounded(self, factor: str) -> list[str]:
        """Return the levels that share no value of the factor with the reference level.

        Args:
            factor: one of `FACTORS`.
        """
        levels = self.counts[factor]
        there = levels.get(self.reference, Counter())
        return [
            level for level, found in levels.items() if there and found and not there.keys() & found.keys()
        ]


def unbalanced(study: Study) -> list[Origins]:
    """Return the axes, and the baselines, whose levels differ in their shares of some factor."""
    return [origins for origins in _each(study) if origins.counts]


def _each(study: Study) -> Iterator[Origins]:
    values = {factor: list(map(of, study.runs)) for factor, of in FACTORS.items()}
    varied = {
        factor: found
        for factor, found in values.items()
        if len({*found}) > 1 and f"train.{factor}" not in study.axes
    }
    for axis in effects.varied(study):
        if axis == DATA:  # metrics of different images are not comparable
            continue
        place = tuple(study.axes).index(axis)
        names = [show(value) for value in study.axes[axis]]
        levels = [names[study.levels[run.cell, place]] for run in study.runs]
        reference = names[study.levels[study.reference, place]] if study.reference is not None else names[0]
        counts: dict[str, dict[str, Counter[str]]] = {}
        for factor, found in varied.items():
            counts[factor] = {name: Counter() for name in names}
            for level, value in zip(levels, found, strict=True):
                counts[factor][level][value] += 1
        yield Origins(tables.axis_names(study.axes)[axis], reference, _differing(counts))
    if study.baselines:
        mixture = "mixture of VAEs"
        methods = {mixture: study.runs} | {baseline.name: baseline.runs for baseline in study.baselines}
        counts = {
            factor: {name: Counter(map(FACTORS[factor], runs)) for name, runs in methods.items()}
            for factor in ("machine", "commit")
        }
        yield Origins("method", mixture, _differing(counts))


def _differing(counts: Counts) -> Counts:
    """Return the counts of the factors whose shares differ between levels."""
    return {factor: found for factor, found in counts.items() if len(set(map(_shares, found.values()))) > 1}


def _shares(counts: Counter[str]) -> frozenset[tuple[str, float]]:
    return frozenset((value, number / counts.total()) for value, number in counts.items())


def origins(study: Study, page: Page) -> None:
    """Add a table of levels that differ in machine, commit or precision, and warnings if confounded."""
    found = unbalanced(study)
    if not found:
        return
    factors = [factor for factor in FACTORS if any(factor in each.counts for each in found)]
    rows = []
    for each in found:
        for level in next(iter(each.counts.values())):
            values = {
                factor: _words(each.counts[factor][level]) if factor in each.counts else "same"
                for factor in factors
            }
            rows.append({"axis": each.axis, "level": level} | values)
    page.add("Levels of these axes were run on different machines, commits or precisions (number of runs):")
    page.rows(rows, SHOWN_ROWS, file="origins")
    for each in found:
        for factor in each.counts:
            if levels := each.confounded(factor):
                names = escape(f"{each.axis} {_listed(levels)}")
                page.add(
                    f"**Confounded with the {factor}**: {names}. No run of these levels shares a {factor} "
                    f"with {escape(each.reference)}, so a difference from it may be caused by different "
                    f"{PLURALS[factor]}."
                )


def _words(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{value} ({number})" for value, number in ordered[:MAX_VALUES]]
    if rest := ordered[MAX_VALUES:]:
        words.append(f"{count(len(rest), 'other')} ({sum(number for _, number in rest)})")
    return ", ".join(words) or "–"


def _listed(words: list[str]) -> str:
    if len(words) > MAX_LISTED:
        words = [*words[:MAX_LISTED], count(len(words) - MAX_LISTED, "other")]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
