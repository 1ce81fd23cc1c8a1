from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moevae.config.schema import RunConfig
from studies.analysis import selection
from studies.analysis.load import load_study
from studies.analysis.metrics import NMI
from studies.analysis.study import Study
from studies.testing import synthetic

AXES = {"routing.temperature": [0.5, 1.0, 2.0], "routing.kind": ["soft", "hard"]}


@pytest.fixture
def study(tmp_path) -> Study:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False)

    return load_study(synthetic.write(tmp_path, synthetic.plan(AXES, seeds=range(4)), make))


def test_the_final_bound_chooses_what_a_loop_would(study: Study) -> None:
    choice = next(each for each in selection.choose(study, NMI) if each.rule.name == "final bound")
    bound, nmi = study.matrix("validation.mixture_elbo"), study.matrix("test.nmi")
    chosen = [max(range(len(study.cells)), key=lambda cell: bound[seed, cell]) for seed in range(4)]
    given = [nmi[seed, cell] for seed, cell in enumerate(chosen)]
    assert choice.value == pytest.approx(np.mean(given))
    others = [np.delete(nmi, seed, axis=0).mean(axis=0).argmax() for seed in range(4)]
    best = [nmi[seed, cell] for seed, cell in enumerate(others)]
    assert choice.cost == pytest.approx(np.mean(best) - np.mean(given))
    assert (choice.times, choice.n) == (max(map(chosen.count, chosen)), 4)


def test_the_oracle_never_sees_the_seed_that_it_is_scored_on() -> None:
    values = np.random.default_rng(0).random((5, 6))
    before = selection.cross_fitted(values)
    values[2] = values[2, ::-1] * 100
    assert selection.cross_fitted(values)[2] == before[2]


def test_a_cost_of_identical_cells_is_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(400, 5, 8))
    costs = [each[np.arange(5), selection.cross_fitted(each)] - each[:, 0] for each in values]
    assert abs(np.mean(costs)) < 4 * np.std(np.mean(costs, axis=1)) / 20
    lucky = np.mean(values.max(axis=2) - values[:, :, 0])
    assert lucky > 1  # what the best cell of the same seed would make of it


def test_rules_that_need_what_no_record_has_are_left_out(study: Study) -> None:
    without = replace(
        study,
        runs=tuple(
            replace(
                run,
                metrics={
                    key: value
                    for key, value in run.metrics.items()
                    if key not in ("validation.marginal_elbo", "validation.gate_gap")
                },
            )
            for run in study.runs
        ),
    )
    known = {choice.rule.name for choice in selection.choose(without, NMI)}
    assert known == {rule.name for rule in selection.RULES} - {"marginal bound", "gate agreement"}
    with_new = replace(
        study,
        runs=tuple(
            replace(
                run,
                metrics=run.metrics
                | {"validation.marginal_elbo": 1.0 * run.cell, "validation.gate_gap": 0.5},
            )
            for run in study.runs
        ),
    )
    chosen = {choice.rule.name: choice for choice in selection.choose(with_new, NMI)}
    assert chosen["marginal bound"].cell == len(study.cells) - 1
    assert "gate agreement" in chosen


def test_losses_of_several_objectives_are_not_compared(tmp_path) -> None:
    for axis, levels, compared in (
        ("objective.balance_weight", [0.0, 1.0], False),
        ("objective", ["elbo", "marginal"], False),
        ("routing.temperature", [0.5, 1.0], True),
    ):
        made = synthetic.plan({axis: levels})
        study = load_study(synthetic.write(tmp_path / axis, made))
        names = {choice.rule.name for choice in selection.choose(study, NMI)}
        assert ("training objective" in names) == compared


def test_one_seed_has_no_cost(tmp_path) -> None:
    study = load_study(synthetic.write(tmp_path, synthetic.plan(seeds=[0])))
    choices = selection.choose(study, NMI)
    assert choices
    assert all(np.isnan([choice.cost, choice.p]).all() for choice in choices)


def test_no_rule_reads_labels(study: Study) -> None:
    draw = np.random.default_rng(0)
    blind = replace(
        study,
        runs=tuple(
            replace(
                run,
                metrics=run.metrics
                | {
                    f"{split}.{name}": draw.random()
                    for split in ("validation", "test")
                    for name in ("acc", "ari", "nmi")
                },
            )
            for run in study.runs
        ),
    )
    for rule in selection.RULES:
        np.testing.assert_array_equal(rule.criterion(blind), rule.criterion(study))


@pytest.mark.parametrize(
    ("axis", "levels", "compare"),
    [
        ("model.likelihood", ["bernoulli", "gaussian"], False),
        ("model.likelihood", ["bernoulli", "autoregressive"], True),
        ("data.imbalance", [0.5, 1.0], False),
        ("data.split_seed", [0, 1], False),
        ("data.train_size", [100, 200], True),
    ],
)
def test_only_bounds_of_one_likelihood_on_the_same_images_choose(tmp_path, axis, levels, compare) -> None:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False)

    study = load_study(synthetic.write(tmp_path, synthetic.plan({axis: levels}), make))
    assert any(choice.rule.nats for choice in selection.choose(study, NMI)) == compare


def test_nothing_is_chosen_from_one_cell(tmp_path) -> None:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False)

    study = load_study(synthetic.write(tmp_path, synthetic.plan({"routing.kind": ["soft"]}), make))
    assert selection.choose(study, NMI) == []
