"""What a study shows, in plain sentences. Each rests on an interval; one that its interval does not carry is
not written."""

from __future__ import annotations

import numpy as np

from studies import effects, paired, stats, tables
from studies.analysis import Analysis
from studies.effects import Effect
from studies.markup import escape
from studies.measures import DEAD, ELBO, NMI, Measure
from studies.selection import Choice
from studies.study import Study

SPOKEN = (NMI, ELBO, DEAD)
"""Measures that sentences about an axis are made of."""
MATERIAL = 0.1
"""An interaction is worth saying where its partial η² is surely above this share."""
VAGUE = 0.5
"""A bound on all differences is worth saying below this share of the range over cells."""


def sentences(analysis: Analysis) -> list[str]:
    """Return the sentences about one data set, in Markdown."""
    found = [_best(analysis, measure) for measure in analysis.compared]
    for axis, along in analysis.effects.items():
        found += [_axis(analysis, axis, along[measure]) for measure in SPOKEN if measure in along]
    found += [_interaction(analysis, measure) for measure in analysis.variance]
    found.append(_selection(analysis))
    return [sentence for sentence in found if sentence]


def caution(study: Study) -> str:
    """Return what to think of the sentences where so few seeds leave no permutation test a chance, or ""."""
    n = len(study.seeds)
    least = paired.smallest_p(n)
    if n < 2 or least <= 1 - stats.LEVEL:
        return ""
    return (
        f"With n = {n} these intervals take for granted that seeds spread normally; the permutation tests "
        f"below do not, and with {n} pairs none can fall below p = {least:.2g}."
    )


def _best(analysis: Analysis, measure: Measure) -> str:
    """The cell with the highest mean, and how many cannot be told from it."""
    values = analysis.study.comparable(measure)
    mean = stats.means(values)
    cells = int(np.isfinite(mean).sum())
    if cells < 2:
        return ""
    best = int(np.nanargmax(mean))
    low, high = np.clip(stats.guarded_intervals(values[:, [best]]), *measure.ends)
    if not np.isfinite(low[0]):
        return ""
    behind = values - values[:, [best]]
    behind[:, best] = np.nan
    _, top = stats.guarded_intervals(behind)
    apart = int((top < 0).sum())
    where = f"cell {tables.label(analysis.study, best)} ({tables.describe(analysis.study, best)})"
    others = _others(cells - 1, apart)
    return escape(
        f"The highest mean {measure.label} is that of {where}: "
        f"{_number(measure, mean[best], low[0], high[0])} (n = {stats.counts(values)[best]}); {others}."
    )


def _others(number: int, below: int) -> str:
    """Say how many of the other cells are surely below the best."""
    if number == 1:
        return (
            "the mean of the other is below it" if below else "the mean of the other cannot be told from it"
        )
    if below == number:
        return "the means of all others are below it"
    if not below:
        return f"no mean of the other {number} cells can be told from it"
    means = "mean" if number - below == 1 else "means"
    return f"the {means} of {number - below} of the other {number} cells cannot be told from it"


def _axis(analysis: Analysis, axis: str, effect: Effect) -> str:
    """The largest difference along an axis that is carried, or else how small all of them are."""
    study, measure = analysis.study, effect.measure
    name = tables.words(study.axes)[axis]
    levels = study.texts[axis]
    reference = levels[effect.contexts.baseline]
    n = int(np.nanmax(np.where(np.isfinite(effect.low), effect.comparison.n, 0)))
    settings = len(effect.contexts.cells)
    seen = 10.0**-measure.digits
    carried = (effect.low >= seen) | (effect.high <= -seen)
    if carried.any():
        size = np.where(carried, np.abs(effect.comparison.difference), -1.0)
        level = int(np.argmax(size))
        sign = 1 if effect.comparison.difference[level] > 0 else -1
        moved = sign * (effect.means[:, level] - effect.means[:, effect.contexts.baseline])
        ends = sorted((sign * effect.low[level], sign * effect.high[level]))
        verb = "raises" if sign > 0 else "lowers"
        number = _number(measure, size[level], *ends)
        over = _over(n, settings, int((moved > 0).sum()))
        return (
            f"**{escape(name.capitalize())}** {escape(levels[level])} in place of {escape(reference)} {verb} "
            f"{escape(f'{measure.label} by {number}{_unit(measure)} ({over}).')}"
        )
    over = _over(n, settings, settings)
    reach = np.concatenate([effect.low, effect.high])
    reach = np.abs(reach[np.isfinite(reach)])
    cells = stats.means(study.comparable(measure))
    span = np.nanmax(cells) - np.nanmin(cells)
    if measure is DEAD or len(reach) < 2 * (len(levels) - 1) or reach.max() > VAGUE * span:
        return ""
    return (
        f"**{escape(name.capitalize())}**: no level moves {escape(measure.label)} from that of "
        f"{escape(reference)} by more than {escape(f'{measure.show(reach.max())}{_unit(measure)} ({over}).')}"
    )


def _over(n: int, settings: int, moved: int) -> str:
    """Say how many seeds, and how many settings of the other axes, some of which may not move that way."""
    if settings == 1:
        return f"n = {n}"
    some = f", {moved} of which move that way" if moved < settings else ""
    return f"n = {n}, over {settings} settings of the other axes{some}"


def _interaction(analysis: Analysis, measure: Measure) -> str:
    """The largest interaction of two axes, where it is beyond chance and large."""
    found = analysis.variance[measure]
    corrected = stats.holm(np.array([effect.p for effect in found.effects]))
    pairs = [
        effect
        for effect, p in zip(found.effects, corrected, strict=True)
        if len(effect.axes) == 2 and p < 1 - stats.LEVEL and effect.low > MATERIAL
    ]
    if not pairs:
        return ""
    effect = max(pairs, key=lambda each: each.partial_eta_squared)
    names = tables.words(analysis.study.axes)
    first, second = (names[effects.varied(analysis.study)[axis]] for axis in effect.axes)
    share = f"{effect.partial_eta_squared:.2f} [{effect.low:.2f}, {effect.high:.2f}]"
    return (
        f"What **{escape(first)}** does to {escape(measure.label)} depends on **{escape(second)}**: "
        f"their interaction has partial η² {share} (n = {found.n})."
    )


def _selection(analysis: Analysis) -> str:
    """What choosing by the bound costs, where the cost is beyond its interval."""
    for choice in analysis.choices:
        if choice.rule.nats and choice.low > 0:
            measure = analysis.compared[0]
            return escape(
                f"Choosing a cell without labels, by the {choice.rule.name}, costs "
                f"{_cost(measure, choice)} {measure.label} against the oracle choice (n = {choice.n})."
            )
    return ""


def _cost(measure: Measure, choice: Choice) -> str:
    return _number(measure, choice.cost, choice.low, choice.high)


def _number(measure: Measure, value: float, low: float, high: float) -> str:
    return f"{measure.show(value)} [{measure.show(low)}, {measure.show(high)}]"


def _unit(measure: Measure) -> str:
    return f" {measure.unit}" if measure.unit else ""
