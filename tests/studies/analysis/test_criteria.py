"""Runs are chosen without labels and without the split that they are reported on."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from studies.analysis import criteria, metrics
from studies.analysis.analyze import analyze
from studies.analysis.load import load_study
from studies.report.build import write_report
from studies.testing import synthetic

LOSSES = {0: 3.0, 1: 1.0, 2: 2.0, 3: 4.0, 4: 5.0, 5: 6.0}
"""By seed: the test bound orders the runs the other way round."""


def folder(path, axes=None, held_out=False, losses=True):
    def make(config):
        noise = np.random.default_rng(config.seed)
        metrics = synthetic.numbers(config, noise) | {"mixture_elbo": LOSSES[config.seed]}
        tree, files = synthetic.record(config, metrics=metrics)
        tree["curve"]["loss"] = [LOSSES[config.seed] for _ in tree["curve"]["epoch"]]
        if not held_out:
            del tree["metrics"]["validation"]
            tree["data"]["validation"] = 0
        if not losses:
            tree["curve"] = {}
        return tree, files

    return synthetic.write(path, synthetic.plan(axes or {"routing.kind": ["soft"]}, range(6)), make)


def test_the_validation_bound_judges_where_there_is_one(undrawn, tmp_path) -> None:
    assert criteria.ranking_criterion(load_study(folder(tmp_path, held_out=True)).runs) is criteria.BOUND


def test_the_importance_weighted_bound_is_compared_and_judges_where_all_runs_have_it(tmp_path) -> None:
    """It orders the cells the other way round."""

    def make(config, without=()):
        better = config.objective.balance_weight
        numbers = {"mixture_elbo": -90 - better + config.seed / 100}
        if better not in without:
            numbers["iwae_bound"] = -80 + better + config.seed / 100
        noise = np.random.default_rng(config.seed)
        return synthetic.record(config, metrics=synthetic.numbers(config, noise) | numbers)

    plan = synthetic.plan({"objective.balance_weight": [1.0, 5.0, 9.0]}, seeds=range(8))
    study = load_study(synthetic.write(tmp_path / "all", plan, make))
    found = analyze(study)
    assert found.compared == (metrics.NMI, metrics.IWAE)
    assert found.leading[0] == metrics.IWAE
    assert found.below_best[metrics.IWAE][:2].max() < 0.05
    changes = found.effects["objective.balance_weight"]
    assert metrics.IWAE in changes
    assert metrics.ELBO not in changes
    criterion = criteria.ranking_criterion(study.runs)
    assert criterion is criteria.IWAE_BOUND
    assert max(study.runs, key=criterion.score).record.config["objective"]["balance_weight"] == 9

    plan_of_images = synthetic.plan({"evaluation.iwae_images": [50, 100]}, seeds=range(8))
    other = load_study(synthetic.write(tmp_path / "images", plan_of_images, make))
    assert analyze(other).compared == (metrics.NMI, metrics.ELBO)
    assert criteria.ranking_criterion(other.runs) is criteria.BOUND

    some = load_study(synthetic.write(tmp_path / "some", plan, functools.partial(make, without=(5.0,))))
    assert analyze(some).compared == (metrics.NMI, metrics.ELBO)
    assert criteria.ranking_criterion(some.runs) is criteria.BOUND


def test_the_training_loss_judges_where_nothing_was_held_out(tmp_path) -> None:
    runs = load_study(folder(tmp_path)).runs
    criterion = criteria.ranking_criterion(runs)
    assert criterion is criteria.LOSS
    assert max(runs, key=criterion.score).seed == 1


@pytest.mark.parametrize(
    ("axis", "levels"),
    [
        ("objective.balance_weight", [0.0, 1.0]),
        ("data.imbalance", [0.5, 1.0]),
        ("data.binarization", ["dynamic", "static"]),
    ],
)
def test_losses_of_other_objectives_or_images_judge_nothing(tmp_path, axis, levels) -> None:
    assert criteria.ranking_criterion(load_study(folder(tmp_path, {axis: levels})).runs) is None


def test_bounds_of_other_validation_images_judge_nothing(tmp_path) -> None:
    runs = load_study(folder(tmp_path, {"data.split_seed": [0, 1]}, held_out=True)).runs
    assert criteria.ranking_criterion(runs) is None


@pytest.mark.parametrize("held_out", [True, False])
def test_no_metric_of_the_test_split_moves_a_choice(tmp_path, held_out: bool) -> None:
    runs = load_study(folder(tmp_path, held_out=held_out)).runs
    criterion = criteria.ranking_criterion(runs)
    turned = [
        replace(run, metrics={k: -v if k.startswith("test.") else v for k, v in run.metrics.items()})
        for run in runs
    ]
    assert criteria.ranking_criterion(turned) is criterion
    assert [criterion.score(run) for run in turned] == [criterion.score(run) for run in runs]


@pytest.mark.usefixtures("undrawn")
def test_the_page_shows_the_run_with_the_lowest_loss_not_the_highest_test_bound(tmp_path) -> None:
    made = folder(tmp_path)
    write_report(made)
    page = (made / "report.md").read_text()
    best = next(line for line in page.splitlines() if line.startswith("**The best run**"))
    assert "training loss 1.00 nats" in best
    assert ", seed 1;" in best
    by_expert = next(line for line in page.splitlines() if "by expert" in line)
    assert "with the lowest training loss in the last epoch, seed 1" in by_expert
    assert "2 runs, by training loss" in page


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_several_objectives_are_of_the_baselines(tmp_path) -> None:
    made = folder(tmp_path, {"objective.balance_weight": [0.0, 20.0]})
    write_report(made)
    page = (made / "report.md").read_text()
    assert "with the objective of the reference cell" in page
    best = next(line for line in page.splitlines() if line.startswith("**The best run**"))
    assert "balance weight 20" in best


@pytest.mark.usefixtures("undrawn")
def test_runs_without_loss_and_validation_are_not_chosen_among(tmp_path) -> None:
    made = folder(tmp_path, losses=False)
    write_report(made)
    page = (made / "report.md").read_text()
    assert page.count(criteria.REFUSAL) == 3
    assert "**The best run**" not in page
    assert not list(made.glob("figures/best-*"))
