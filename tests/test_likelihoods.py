"""The likelihoods on the page of results agree with the records."""

from statistics import mean, median, stdev

import numpy as np
import pytest
import scipy.stats
from written import RESULTS, complete, findings, measured, short, shorter

from studies.analysis import metrics
from studies.analysis.analyze import analyze
from studies.analysis.load import load_study
from studies.records import study_file

EXPERTS = "likelihood-experts"


@pytest.mark.parametrize(
    ("mixture", "study", "data", "binarization"),
    [
        ("ten experts, gate of `iic-mnist`, autoregressive pixels", "likelihood-iic", "mnist", "dynamic"),
        *(
            (mixture, study, data, binarization)
            for data in ("mnist", "fashion-mnist")
            for mixture, study, binarization in (
                ("two experts, autoregressive pixels", "likelihood-autoregressive", "dynamic"),
                ("two experts, autoregressive pixels", "likelihood-autoregressive", "static"),
                ("two perceptrons, independent pixels", "likelihood-independent", "dynamic"),
                ("two convolutional experts, independent pixels", "likelihood-independent", "static"),
            )
        ),
    ],
)
def test_likelihoods_agree_with_the_records(mixture, study, data, binarization):
    assert likelihood_row(mixture, study, data, binarization) in findings()


def likelihood_row(mixture, study, data, binarization):
    runs = complete(study, {"data.name": data, "data.binarization": binarization})
    bounds, nmi = ([run["metrics"]["test"][name] for run in runs] for name in ("iwae_bound", "nmi"))
    assert all(run["config"]["evaluation"]["iwae_samples"] == 5000 for run in runs)
    assert all(run["config"]["evaluation"]["iwae_images"] is None for run in runs)
    spread = f" ± {shorter(stdev(bounds))} ({min(bounds):.2f})" if len(bounds) > 1 else ""
    times = [median(run["seconds"][phase] for run in runs) / 60 for phase in ("train", "evaluation")]
    title = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}[data]
    return (
        f"| {mixture} | {title} | {binarization} | {len(runs)} | {mean(bounds):.2f}{spread} |"
        f" {shorter(mean(nmi))} | {times[0]:.0f} + {times[1]:.0f} |"
    )


def test_the_differences_of_mixtures_from_one_expert_agree_with_the_records():
    rows = {
        "two of 400 units, which compute as much in a step": (2, 400),
        "two of 264 units, with as many parameters": (2, 264),
        "ten of 400 units, which compute as much in a step": (10, 400),
        "ten of 82 units, with as many parameters": (10, 82),
    }
    for row, (experts, units) in rows.items():
        cells = [
            more_than_one_expert(study, experts, units) for study in (EXPERTS, f"{EXPERTS}-autoregressive")
        ]
        assert f"| {row} | {' | '.join(cells)} |" in findings()


def test_the_differences_of_experts_that_follow_clusters_agree_with_the_records():
    study = f"{EXPERTS}-iic"
    rows = {
        "ten of 400 units, which compute as much in a step": (10, 400),
        "ten of 91 units, with as many parameters without the gate": (10, 91),
        "one of 565 units, with as many parameters as the ten of 91 and their gate": (1, 565),
    }
    for row, (experts, units) in rows.items():
        nmi = shorter(mean(measured(study, "nmi", sized(experts, units))))
        assert f"| {row} | {more_than_one_expert(study, experts, units)} | {nmi} |" in findings()
    assert (
        f"one expert of 400 units has {mean(measured(study, 'iwae_bound', sized(1, 400))):.2f} nats"
        in findings()
    )
    more = difference(study, sized(1, 565), sized(10, 91))
    assert f"ten of 91 units have {more} nats more than one of 565" in findings()


def test_the_tests_and_speeds_of_experts_that_follow_clusters_agree_with_the_records():
    study = load_study(RESULTS / f"{EXPERTS}-iic")
    found = zip(study.cells, analyze(study).below_best[metrics.IWAE], strict=True)
    p = {(experts, units[0]): value for (experts, units), value in found}
    assert np.isnan(p[10, 400])
    higher = max(p[1, 400], p[1, 565])
    assert f"adjusted p = {short(higher)} or less" in findings()
    assert f"not significant (p = {short(p[10, 91])})" in findings()
    ten, one = (complete(f"{EXPERTS}-iic", sized(*size)) for size in ((10, 91), (1, 400)))
    speeds = (mean(run["throughput"]["train_images_per_second"] for run in runs) for runs in (ten, one))
    assert "{:.0f} and {:.0f} images per second".format(*speeds) in findings()
    assert len({run["hardware"]["device_name"] for run in (*ten, *one)}) == 1


def test_the_means_and_times_of_one_and_two_experts_agree_with_the_records():
    bounds, slower = [], []
    for study in (EXPERTS, f"{EXPERTS}-autoregressive"):
        one, two = (
            complete(study, {"model.num_experts": count, "model.expert_hidden": [400, 400]})
            for count in (1, 2)
        )
        bounds.append(mean(record["metrics"]["test"]["iwae_bound"] for record in one))
        of_one, of_two = (
            mean(record["throughput"]["train_images_per_second"] for record in each) for each in (one, two)
        )
        slower.append(100 * (of_one / of_two - 1))
    assert "{:.2f} nats with pixels independent given z and {:.2f} with".format(*bounds) in findings()
    longer = "takes {:.0f} % longer than with one where pixels are independent, and {:.0f} %".format(*slower)
    assert longer in findings()
    means = {
        (study, count, width): mean(found)
        for study in (EXPERTS, f"{EXPERTS}-autoregressive")
        for count in (1, 2, 10)
        for width in (82, 264, 400)
        if (found := measured(study, "nmi", {"model.num_experts": count, "model.expert_hidden": [width] * 2}))
    }
    assert all(value < 1e-6 for (_, count, _), value in means.items() if count == 1)
    assert f"NMI is 0 with one expert; the highest mean is {shorter(max(means.values()))}" in findings()


INGREDIENTS = {
    "each expert has its own encoder": {"model.encoder": "separate"},
    "the prior of z is a mixture of Gaussian distributions": {"model.latent_prior": "mixture"},
    "two layers of latents, each with a Gaussian prior": {"model.latent_prior": "hierarchical"},
    "the prior of z is standard normal": {"model.latent_prior": "normal"},
    "one sample of z in training": {"train.num_samples": 1},
    "no warmup of the KL divergence": {"train.kl_warmup": 0.0},
    "ReLU in place of SiLU": {"model.activation": "relu"},
    "the ELBO of five samples in training": {"objective.bound": "elbo"},
    "balancing of strength 5 in place of 80": {"objective.balance_weight": 5.0},
    "the learning rates of Burda et al., in as many epochs": {"train.learning_rate_schedule": "iwae"},
    "float32 in place of bfloat16": {"train.precision": "float32"},
    "training images binarized once": {"data.binarization": "static"},
    "convolutional experts": {"model.expert_network": "conv", "model.expert_hidden": [16, 64]},
    "autoregressive pixels": {"model.likelihood": "autoregressive"},
}


@pytest.mark.parametrize("words", INGREDIENTS)
def test_the_part_of_each_ingredient_agrees_with_the_records(words):
    assert ingredient_row(words) in findings()


def test_the_start_of_the_ingredients_and_the_comparison_of_their_cells_agree_with_the_records():
    study, runs = load_study(RESULTS / "likelihood"), complete("likelihood", ingredient({}))
    bound, nmi = (mean(run["metrics"]["test"][name] for run in runs) for name in ("iwae_bound", "nmi"))
    assert f"which have {bound:.2f} nats and NMI {shorter(nmi)}." in findings()
    cells = [dict(zip(study.axes, cell, strict=True)) for cell in study.cells]
    best, second = (
        cells.index(ingredient(INGREDIENTS[words]))
        for words in ("autoregressive pixels", "convolutional experts")
    )
    p = analyze(study).below_best[metrics.IWAE]
    assert np.flatnonzero(np.isnan(p)).tolist() == [best]
    assert np.flatnonzero(p > 0.05).tolist() == [second]
    assert f"but the second (p = {short(p[second])})" in findings()
    dead = [
        run["metrics"]["test"]["dead_experts"]
        for run in complete("likelihood", ingredient({"objective.balance_weight": 5.0}))
    ]
    assert f"{sum(count == 1 for count in dead)} of {len(dead)} gates use one expert only" in findings()


def ingredient(change):
    """The settings of the reference cell of the ingredients, with a change."""
    return study_file.read(RESULTS / "likelihood").baseline | change


def ingredient_row(words):
    reference, cell = ingredient({}), ingredient(INGREDIENTS[words])
    nmi = shorter(mean(run["metrics"]["test"]["nmi"] for run in complete("likelihood", cell)))
    return f"| {words} | {difference('likelihood', reference, cell)} | {nmi} |"


def more_than_one_expert(study, experts, units):
    """The difference of a mixture in the IWAE bound from one expert."""
    return difference(study, sized(1, 400), sized(experts, units))


def sized(experts, units):
    """The settings of a number of experts of two layers."""
    return {"model.num_experts": experts, "model.expert_hidden": [units, units]}


def difference(study, reference, cell):
    """The difference of two cells in the IWAE bound, paired by seed, with Student's interval."""
    usual, changed = (
        {
            record["config"]["seed"]: record["metrics"]["test"]["iwae_bound"]
            for record in complete(study, settings)
        }
        for settings in (reference, cell)
    )
    if not changed:
        return "–"
    assert usual.keys() == changed.keys()
    assert len(usual) == 6
    found = scipy.stats.ttest_1samp([changed[seed] - usual[seed] for seed in usual], 0)
    low, high = found.confidence_interval(0.95)
    return f"{mean(changed.values()) - mean(usual.values()):.2f} [{low:.2f}, {high:.2f}]"
