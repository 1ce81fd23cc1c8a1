"""Summary of a study in sentences. Each kind of sentence has a family-wise error rate of at most 5 %.

The families are: the best cell (over cells and measures), each axis (over its levels and the
`SUMMARY_MEASURES`), interactions (over pairs of axes and measures), and selection without labels (over
cells and rules). The tests are those of `studies.statistics.simultaneous`. If no test is significant, a
sentence says so or is omitted.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from studies.analysis import cell_stats, effects, metrics
from studies.analysis.analyze import Analysis
from studies.analysis.effects import AxisEffect
from studies.analysis.metrics import Measure
from studies.analysis.study import Study
from studies.report import markdown, tables
from studies.report.markdown import escape, p_value
from studies.statistics import paired, stats
from studies.statistics.stats import Row
from studies.utils import formatting

ERROR_RATE = 1 - stats.LEVEL
"""Family-wise error rate of each kind of sentence."""
MAX_LISTED = 12
"""Largest number of cells named in a sentence."""


def sentences(analysis: Analysis) -> list[str]:
    """Return the sentences about one data set, as Markdown.

    Args:
        analysis: statistics of a study of one data set.
    """
    found = [_best(analysis, measure) for measure in analysis.compared]
    for axis in analysis.level_p:
        found += _axis(analysis, axis)
    found += [_interaction(analysis, measure) for measure in analysis.variance]
    found.append(_selection(analysis))
    return [sentence for sentence in found if sentence]


def single_cell(analysis: Analysis) -> list[str]:
    """Return sentences about the only cell: each main measure with interval and lowest run, and failed runs.

    Args:
        analysis: statistics of a study with one cell.
    """
    study = analysis.study
    sentences = []
    for measure in analysis.leading:
        values = study.matrix(measure.key)
        if not measure.spread or not np.isfinite(values).any():
            continue
        found = stats.summarize(values, measure.ends)
        n = int(found.n[0])
        worst = np.nanmin(values) if measure.better >= 0 else np.nanmax(values)
        interval = markdown.interval(measure.show(found.low[0]), measure.show(found.high[0]))
        spread = f" (95 % interval {interval}, standard deviation {measure.show(found.std[0])})"
        sentences.append(
            escape(
                f"The mean {measure.label} is {measure.show(found.mean[0])}{_unit(measure)}"
                f"{spread if interval else ''}; the {'lowest' if measure.better >= 0 else 'highest'} of {n} "
                f"{'run' if n == 1 else 'runs'} is {measure.show(float(worst))}."
            )
        )
    for measure in cell_stats.measured(study, (metrics.DEAD,)):
        values = study.matrix(measure.key)
        hit = int((values >= 1).sum())
        sentences.append(
            escape(f"{hit} of {int(np.isfinite(values).sum())} runs have {measure.label}.")
            if hit
            else escape(f"No run has {measure.label}.")
        )
    if study.failed:
        sentences.append(f"{formatting.count(len(study.failed), 'run')} failed.")
    return sentences


def silence(analysis: Analysis) -> str:
    """State why there are no sentences about one data set.

    Args:
        analysis: statistics of a study of one data set.
    """
    if len(analysis.study.runs) <= len(analysis.study.failed):
        return "No run is complete."
    of_levels = (p for along in analysis.level_p.values() for p in along.values())
    tested = [*analysis.below_best.values(), *of_levels]
    if not any(np.isfinite(p).any() for p in tested):
        return "No difference is tested: a test needs two cells with two seeds in common."
    return "No effect is significant."


def caution(study: Study) -> str:
    """Return a caution if the number of seeds does not allow a significant difference of a pair, or ""."""
    n = len(study.seeds)
    least = paired.smallest_p(n)
    if n < 2 or least <= ERROR_RATE:
        return ""
    return (
        f"With n = {n}, two cells, or the two levels of an axis, cannot differ significantly: a permutation "
        f"test of {n} pairs has no p below {least:.2g}. More cells or levels have more permutations."
    )


def _best(analysis: Analysis, measure: Measure) -> str:
    """Name the cell with the highest mean, and the cells that do not differ significantly from it."""
    study, p = analysis.study, analysis.below_best[measure]
    values = study.comparable(measure)
    mean = stats.means(values)
    if not np.isfinite(p).any() or np.nanmax(mean) - np.nanmin(mean) <= 1e-12:
        return ""
    best = int(np.nanargmax(mean))
    below = p <= ERROR_RATE
    others = [cell for cell in range(len(mean)) if cell != best and np.isfinite(mean[cell])]
    return escape(
        f"The highest mean {measure.label} is that of cell {cell_stats.label(study, best)} "
        f"({tables.describe(study, best)}): {measure.show(mean[best])}{_unit(measure)} "
        f"(n = {stats.counts(values)[best]}; the highest of {len(others) + 1} means, so biased upward). "
        + _compared_with_best(study, [cell for cell in others if not below[cell]], int(below.sum()))
    )


def _compared_with_best(study: Study, level: list[int], below: int) -> str:
    """Name the cells that do not differ significantly from the best, and count those that do."""
    if not below:
        return (
            "No other cell differs significantly from it."
            if len(level) > 1
            else "The other cell does not differ significantly from it."
        )
    if not level:
        others = f"All {below} others are" if below > 1 else "The other cell is"
        return f"{others} below it (adjusted p ≤ {ERROR_RATE:.2g})."
    cells = ", ".join(cell_stats.label(study, cell) for cell in level)
    named = f" ({cells})" if len(level) <= MAX_LISTED else ""
    return (
        f"{formatting.count(len(level), 'other cell').capitalize()}{named} "
        f"{'does' if len(level) == 1 else 'do'} not differ significantly from it; "
        f"{below} {'is' if below == 1 else 'are'} below it (adjusted p ≤ {ERROR_RATE:.2g})."
    )


def _axis(analysis: Analysis, axis: str) -> list[str]:
    """State the significant effects of an axis, then the measures without one."""
    found, silent = [], []
    for measure, p in analysis.level_p[axis].items():
        effect = analysis.effects[axis][measure]
        if not np.isfinite(p).any() or np.nanmax(np.abs(effect.comparison.difference)) <= 1e-12:
            continue
        shown = np.abs(effect.comparison.difference) >= 10.0**-measure.digits
        if (shown & (p <= ERROR_RATE)).any():
            found.append(
                _significant_effect(analysis, axis, effect, np.where(shown & (p <= ERROR_RATE), p, np.nan))
            )
        elif np.nanmin(p) > ERROR_RATE:
            silent.append((_num_seeds_and_settings(effect), measure, float(np.nanmin(p))))
    for over, group in groupby(sorted(silent, key=lambda each: each[0]), key=lambda each: each[0]):
        found.append(_no_significant_effect(analysis, axis, over, [(measure, p) for _, measure, p in group]))
    return found


def _significant_effect(analysis: Analysis, axis: str, effect: AxisEffect, p: Row) -> str:
    """State the largest significant difference along an axis."""
    measure, study = effect.measure, analysis.study
    name, levels, reference = _names(study, axis, effect)
    difference = np.where(np.isnan(p), 0.0, effect.comparison.difference)
    level = int(np.argmax(np.abs(difference)))
    sign = 1 if difference[level] > 0 else -1
    moved = sign * (effect.means[:, level] - effect.means[:, effect.contexts.reference])
    verb = "raises" if sign > 0 else "lowers"
    over = _sample_size(*_num_seeds_and_settings(effect), int((moved > 0).sum()))
    return (
        f"**{escape(name.capitalize())}** {escape(levels[level])} in place of {escape(reference)} {verb} "
        + escape(
            f"{measure.label} by {measure.show(abs(difference[level]))}{_unit(measure)} "
            f"(adjusted p {_p(p[level])}; {over})."
        )
    )


def _no_significant_effect(
    analysis: Analysis, axis: str, reach: tuple[int, int], silent: list[tuple[Measure, float]]
) -> str:
    """Name the measures in which no level differs significantly from the reference level."""
    name, levels, reference = _names(analysis.study, axis, analysis.effects[axis][silent[0][0]])
    *most, last = (measure.label for measure, _ in silent)
    words = f"{', '.join(most)} or {last}" if most else last
    subject = (
        f"no level differs significantly from {reference}"
        if len(levels) > 2
        else f"{' and '.join(levels)} do not differ significantly"
    )
    least = min(p for _, p in silent)
    return f"**{escape(name.capitalize())}**: " + escape(
        f"{subject} in {words} (least adjusted p {_p(least)}; {_sample_size(*reach, reach[1])})."
    )


def _names(study: Study, axis: str, effect: AxisEffect) -> tuple[str, list[str], str]:
    levels = list(study.texts[axis])
    return tables.axis_names(study.axes)[axis], levels, levels[effect.contexts.reference]


def _num_seeds_and_settings(effect: AxisEffect) -> tuple[int, int]:
    """Return the numbers of seeds and of settings of the other axes."""
    return int(effect.contexts.seeds.sum()), len(effect.contexts.cells)


def _sample_size(n: int, settings: int, moved: int) -> str:
    """State the numbers of seeds and settings, and of settings that move in the same direction if not all."""
    if settings == 1:
        return f"n = {n}"
    some = f", {moved} of which move that way" if moved < settings else ""
    return f"n = {n}, over {settings} settings of the other axes{some}"


def _interaction(analysis: Analysis, measure: Measure) -> str:
    """State the largest interaction of two axes that is significant."""
    found, p = analysis.variance[measure], analysis.interaction_p[measure]
    pairs = [effect for effect in found.effects if len(effect.axes) == 2 and p[effect.axes] <= ERROR_RATE]
    if not pairs:
        return ""
    effect = max(pairs, key=lambda each: each.partial_eta_squared)
    names = tables.axis_names(analysis.study.axes)
    first, second = (names[effects.varied(analysis.study)[axis]] for axis in effect.axes)
    return (
        f"What **{escape(first)}** does to {escape(measure.label)} depends on **{escape(second)}**: their "
        f"interaction has partial η² {effect.partial_eta_squared:.2f} [{effect.low:.2f}, {effect.high:.2f}] "
        f"({escape(f'adjusted p {_p(p[effect.axes])}')}; n = {found.n})."
    )


def _selection(analysis: Analysis) -> str:
    """State the cost of selection by a bound, if it is significant."""
    for choice in analysis.choices:
        measure = analysis.compared[0]
        if choice.rule.nats and choice.p <= ERROR_RATE and choice.cost >= 10.0**-measure.digits:
            return escape(
                f"Choosing a cell without labels, by the {choice.rule.name}, costs "
                f"{measure.show(choice.cost)} {measure.label} compared with the cell that labels of other "
                f"seeds select (adjusted p {_p(choice.p)}; n = {choice.n})."
            )
    return ""


def _p(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _unit(measure: Measure) -> str:
    return f" {measure.unit}" if measure.unit else ""
