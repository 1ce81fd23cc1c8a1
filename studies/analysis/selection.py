"""Unsupervised model selection: rules that select a cell without labels, and their costs.

A cost is the difference to the cell that labels of the *other* seeds select (a cross-fitted oracle). The best
cell of the same seed would be biased upward: the maximum of equal cells exceeds their mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studies.analysis.metrics import Measure
from studies.analysis.study import Study
from studies.statistics import simultaneous, stats
from studies.statistics.stats import Matrix

Criterion = Callable[[Study], Matrix]
"""Function of a study that returns scores, [seeds, cells]; higher is better, NaN if undefined."""


@dataclass(frozen=True)
class Rule:
    """A rule that selects among cells."""

    name: str
    words: str
    criterion: Criterion
    nats: bool = False
    """Whether it compares bounds on the likelihood or values derived from them."""
    of_training: bool = False
    """Whether it compares training losses, which requires that all cells have the same objective."""


@dataclass(frozen=True)
class Choice:
    """The selections of a rule over seeds, and their cost."""

    rule: Rule
    cell: int
    """The cell selected most often; the first one in case of ties."""
    times: int
    n: int
    """Number of seeds."""
    value: float
    """Mean of the measure over the selected cells."""
    cost: float
    """Mean difference to the cell that labels of the other seeds select; NaN for one seed."""
    p: float
    """One-sided test of whether a fixed cell exceeds the selection, adjusted over cells and over rules that
    compare bounds (`simultaneous.positive`); NaN for other rules."""


def _metric(key: str) -> Criterion:
    return lambda study: study.matrix(key)


def _last_loss(study: Study) -> Matrix:
    values = np.full((len(study.seeds), len(study.cells)), np.nan)
    for run in study.runs:
        if run.complete and "loss" in run.curve:
            values[study.seeds.index(run.seed), run.cell] = -run.curve["loss"][-1]
    return values


def _reference(study: Study) -> Matrix:
    values = np.full((len(study.seeds), len(study.cells)), np.nan)
    if study.reference is not None:
        values[:] = 0.0
        values[:, study.reference] = 1.0
    return values


NO_CHOICE = Rule("no choice", "always the reference cell", _reference)

RULES = (
    Rule("final bound", "highest mixture ELBO", _metric("validation.mixture_elbo"), nats=True),
    Rule("marginal bound", "highest marginal ELBO", _metric("validation.marginal_elbo"), nats=True),
    Rule("training objective", "lowest loss of the last epoch", _last_loss, nats=True, of_training=True),
    Rule(
        "gate agreement",
        "smallest KL divergence of gate and posterior",
        lambda study: -study.matrix("validation.gate_gap"),
    ),
    Rule("mutual information", "most informative gate", _metric("validation.mutual_information")),
    Rule("effective experts", "most experts in use", _metric("validation.effective_experts")),
    NO_CHOICE,
)
"""Rules without labels, based on metrics of the validation split or the training loss."""


def choose(study: Study, measure: Measure, rules: tuple[Rule, ...] = RULES) -> list[Choice]:
    """Apply each rule to the cells, seed by seed, as with one run per cell.

    Cells or seeds without values are excluded, whichever lack more. Rules that compare bounds are excluded if
    cells have different likelihoods or validation images. The rule that compares losses is excluded if cells
    have different objectives.

    Args:
        study: a study of one data set.
        measure: the measure in which costs are computed.
        rules: the rules to apply.
    """
    values = study.matrix(measure.key)
    complete = [run for run in study.runs if run.complete]
    mixed = len({(run.likelihood, run.held_out) for run in complete}) > 1
    several = len({run.objective for run in complete}) > 1
    asked = [rule for rule in rules if not (rule.nats and mixed) and not (rule.of_training and several)]
    found = [each for rule in asked if (each := _chosen(rule, rule.criterion(study), values)) is not None]
    bounds = [each for each in found if each.rule.nats]
    rows = simultaneous.positive([each.missed for each in bounds])
    least = {each.rule.name: float(np.fmin.reduce(p)) for each, p in zip(bounds, rows, strict=True)}
    return [_choice(each, least.get(each.rule.name, np.nan)) for each in found]


@dataclass(frozen=True)
class _Chosen:
    """The selections of a rule among seeds and cells with all values."""

    rule: Rule
    values: Matrix
    """Values of the measure, [seeds, cells]; NaN outside these seeds and cells."""
    seeds: np.ndarray
    cells: np.ndarray
    """The selected cell of each of these seeds."""

    @property
    def missed(self) -> Matrix:
        """Difference of each cell to the selected one, [seeds, cells]."""
        given = np.full((len(self.values), 1), np.nan)
        given[self.seeds, 0] = self.values[self.seeds, self.cells]
        return self.values - given


def _chosen(rule: Rule, criterion: Matrix, values: Matrix) -> _Chosen | None:
    seeds, kept = stats.complete_block(np.isfinite(criterion + values))
    if not seeds.any() or kept.sum() < 2:
        return None
    inside = seeds[:, None] & kept
    best = np.where(kept, criterion, -np.inf)[seeds].argmax(axis=1)
    return _Chosen(rule, np.where(inside, values, np.nan), np.flatnonzero(seeds), best)


def _choice(chosen: _Chosen, p: float) -> Choice:
    values = chosen.values[chosen.seeds]
    row = np.arange(len(values))
    given = values[row, chosen.cells]
    oracle = values[row, cross_fitted(values)] if len(values) > 1 else np.nan
    cell, times = min(Counter(chosen.cells.tolist()).items(), key=lambda item: (-item[1], item[0]))
    return Choice(
        rule=chosen.rule,
        cell=cell,
        times=times,
        n=len(values),
        value=float(given.mean()),
        cost=float((oracle - given).mean()),
        p=p,
    )


def cross_fitted(values: Matrix) -> np.ndarray:
    """Return for each seed the cell with the highest mean over the other seeds.

    Args:
        values: one value per run, [seeds, cells]; columns with NaN are excluded.

    Returns:
        Indices of cells, [seeds].
    """
    return np.nan_to_num(values.sum(axis=0) - values, nan=-np.inf).argmax(axis=1)
