"""Choosing a cell without labels: named rules, what each chooses, and what that costs.

A cost counts from the cell that labels of the *other* seeds choose (a cross-fitted oracle). The best cell of
the same seed would be best by luck: among alike cells, the highest of their numbers is above their mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studies.analysis import simultaneous, stats
from studies.analysis.metrics import Measure
from studies.analysis.stats import Matrix
from studies.analysis.study import Study

Criterion = Callable[[Study], Matrix]
"""Study to [seeds, cells], the higher the better; NaN where it cannot be told."""


@dataclass(frozen=True)
class Rule:
    """A way to choose among cells."""

    name: str
    words: str
    criterion: Criterion
    nats: bool = False
    """Whether it compares bounds on the data's likelihood, or what is made of them."""
    of_training: bool = False
    """Whether it compares losses of training: the cells must share one objective."""


@dataclass(frozen=True)
class Choice:
    """What a rule chooses, seed by seed, and what that gives."""

    rule: Rule
    cell: int
    """Chosen most often; the first of the plan among equals."""
    times: int
    n: int
    """Seeds."""
    value: float
    """Mean of the measure over what was chosen."""
    cost: float
    """Mean of how much more the cell has that labels of the other seeds choose; NaN of one seed."""
    p: float
    """One-sided test that no fixed cell has more than what is chosen, adjusted over cells and over the rules
    that compare bounds (`simultaneous.positive`); NaN for other rules."""


def _metric(key: str) -> Criterion:
    return lambda study: study.matrix(key)


def _last_loss(study: Study) -> Matrix:
    values = np.full((len(study.seeds), len(study.cells)), np.nan)
    for run in study.runs:
        if run.complete and "loss" in run.curve:
            values[study.seeds.index(run.seed), run.cell] = -run.curve["loss"][-1]
    return values


def _baseline(study: Study) -> Matrix:
    values = np.full((len(study.seeds), len(study.cells)), np.nan)
    if study.baseline is not None:
        values[:] = 0.0
        values[:, study.baseline] = 1.0
    return values


RULES = (
    Rule("final bound", "highest mixture ELBO", _metric("validation.mixture_elbo"), nats=True),
    Rule("marginal bound", "highest marginal ELBO", _metric("validation.marginal_elbo"), nats=True),
    Rule("training objective", "lowest loss of the last epoch", _last_loss, nats=True, of_training=True),
    Rule(
        "gate agreement",
        "smallest KL divergence of gate and posterior",
        lambda study: -study.matrix("validation.gate_gap"),
    ),
    Rule("gate information", "most informative gate", _metric("validation.gate_information")),
    Rule("effective experts", "most experts in use", _metric("validation.effective_experts")),
    Rule("no choice", "always the reference cell", _baseline),
)
"""None of them sees a label. Metrics are those of the validation split, and the loss is that of training."""


def choose(study: Study, measure: Measure, rules: tuple[Rule, ...] = RULES) -> list[Choice]:
    """Return what each rule chooses among the cells, seed by seed: what one run a cell would let one choose.

    Cells or seeds that lack numbers are left out, whichever lack more. Rules that compare bounds are left out
    where cells have different likelihoods, or bounds of different images; the one that compares losses, where
    cells have different objectives.
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
    """What a rule chooses among the seeds and cells that lack nothing."""

    rule: Rule
    values: Matrix
    """The measure, [seeds, cells], NaN outside these seeds and cells."""
    seeds: np.ndarray
    cells: np.ndarray
    """Chosen in each of these seeds."""

    @property
    def missed(self) -> Matrix:
        """How much more each cell has than what is chosen."""
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
    """Return for each seed the cell with the highest mean over the other seeds; NaN columns are no cells."""
    return np.nan_to_num(values.sum(axis=0) - values, nan=-np.inf).argmax(axis=1)
