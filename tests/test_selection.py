from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic

from moevae.config import RunConfig
from studies import selection
from studies.loading import load
from studies.measures import NMI
from studies.study import Study


@pytest.fixture
def study(tmp_path) -> Study:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False)

    return load(synthetic.write(tmp_path, synthetic.plan(seeds=range(4)), make))


def test_the_final_bound_chooses_what_a_loop_would(study: Study) -> None:
    choice = next(each for each in selection.choose(study, NMI) if each.rule.name == "final bound")
    bound, nmi = study.matrix("validation.mixture_elbo"), study.matrix("test.nmi")
    chosen = [max(range(len(study.cells)), key=lambda cell: bound[seed, cell]) for seed in range(4)]
    given = [nmi[seed, cell] for seed, cell in enumerate(chosen)]
    assert choice.value == pytest.approx(np.mean(given))
    assert choice.cost == pytest.approx(np.mean(nmi.max(axis=1) - given))
    assert (choice.times, choice.n) == (max(map(chosen.count, chosen)), 4)


def test_no_rule_does_better_than_the_oracle_choice(study: Study) -> None:
    choices = selection.choose(study, NMI)
    assert len(choices) == len(selection.RULES)
    assert all(choice.cost >= 0 for choice in choices)


def test_no_rule_looks_at_labels(study: Study) -> None:
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

    study = load(synthetic.write(tmp_path, synthetic.plan({axis: levels}), make))
    assert any(choice.rule.nats for choice in selection.choose(study, NMI)) == compare


def test_nothing_is_chosen_from_one_cell(tmp_path) -> None:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False)

    study = load(synthetic.write(tmp_path, synthetic.plan({"routing.kind": ["soft"]}), make))
    assert selection.choose(study, NMI) == []
