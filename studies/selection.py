"""Choosing a cell without labels: named rules, what each chooses, and what that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studies import stats
from studies.measures import Measure
from studies.stats import Matrix
from studies.study import Study

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
    """Mean of how much more the oracle choice of the same seed has."""
    low: float
    """Lower end of the interval of the cost that a sentence may rest on."""
    high: float


def _metric(key: str) -> Criterion:
    return lambda study: study.matrix(key)


def _last_loss(study: Study) -> Matrix:
    values = np.full((len(study.seeds), len(study.cells)), np.nan)
    for run in study.runs:
        if run.complete and "loss" in run.curve:
            values[study.seeds.index(run.seed), run.cell] = -run.curve["loss"][-1]
    return values


def _agreement(study: Study) -> Matrix:
    return study.matrix("validation.mixture_elbo") - study.matrix("validation.tight_elbo")


def _baseline(study: Study) -> Matrix:
    values = np.full((len(study.seeds), len(study.cells)), np.nan)
    if study.baseline is not None:
        values[:] = 0.0
        values[:, study.baseline] = 1.0
    return values


RULES = (
    Rule("final bound", "highest mixture ELBO", _metric("validation.mixture_elbo"), nats=True),
    Rule("tight bound", "highest tight ELBO", _metric("validation.tight_elbo"), nats=True),
    Rule("training objective", "lowest loss of the last epoch, whatever its weights", _last_loss, nats=True),
    Rule("gate agreement", "smallest KL from the gate to the responsibilities", _agreement),
    Rule("gate information", "most informative gate", _metric("validation.gate_information")),
    Rule("effective experts", "most experts in use", _metric("validation.effective_experts")),
    Rule("no choice", "always the baseline cell", _baseline),
)
"""None of them sees a label. Metrics are those of the validation split, and the loss is that of training."""


def choose(study: Study, measure: Measure, rules: tuple[Rule, ...] = RULES) -> list[Choice]:
    """Return what each rule chooses among the cells, seed by seed: what one run a cell would let one choose.

    Costs are counted from the oracle choice: the cell with the highest measure on the test split in the
    same seed. Cells or seeds that lack numbers are left out, whichever lack more. Rules that compare
    bounds are left out where cells have different likelihoods, or bounds of different images.
    """
    values = study.matrix(measure.key)
    mixed = len({(run.likelihood, run.held_out) for run in study.runs if run.complete}) > 1
    choices = [_choice(rule, rule.criterion(study), values) for rule in rules if not (rule.nats and mixed)]
    return [choice for choice in choices if choice is not None]


def _choice(rule: Rule, criterion: Matrix, values: Matrix) -> Choice | None:
    seeds, kept = stats.whole_block(np.isfinite(criterion + values))
    cells = np.flatnonzero(kept)
    if not seeds.any() or len(cells) < 2:
        return None
    chosen = cells[np.argmax(criterion[np.ix_(seeds, kept)], axis=1)]
    given = values[seeds, chosen]
    cost = values[np.ix_(seeds, kept)].max(axis=1) - given
    low, high = stats.guarded_intervals(cost[:, None])
    cell, times = min(Counter(chosen.tolist()).items(), key=lambda item: (-item[1], item[0]))
    return Choice(
        rule=rule,
        cell=cell,
        times=times,
        n=int(seeds.sum()),
        value=float(given.mean()),
        cost=float(cost.mean()),
        low=float(low[0]),
        high=float(high[0]),
    )
