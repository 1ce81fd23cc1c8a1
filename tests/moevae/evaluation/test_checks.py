"""The laws of metrics hold for every entry of the registry; the checks refuse functions that break them."""

import numpy as np
import pytest

import moevae
from moevae.config.registry import METRICS
from moevae.evaluation.checks import check_label_metric, check_metric
from moevae.evaluation.clustering import clustering
from moevae.evaluation.label_metrics import run_metrics

OF_CLUSTERS = ("acc", "nmi", "ari")
OF_GATES = ("effective_experts", "dead_experts", "mutual_information", "marginal_kl")
ELSEWHERE = (
    *("throughput", "largest_load", "load_entropy", "revived_experts", "all_nmi", "all_acc"),
    *("sample_distance", "sample_distance_lowest", "test_distance", "test_distance_lowest"),
)
"""Metrics that are not those of an evaluation of a split."""


@pytest.mark.parametrize("name", OF_CLUSTERS)
def test_scores_of_clusters(name):
    check_label_metric(lambda found, labels: clustering(found, labels)[name], METRICS[name].ends)


@pytest.mark.parametrize("name", OF_GATES)
def test_statistics_of_gates(name):
    check_metric(lambda found: found.metrics[name], METRICS[name].ends)


def test_metrics_with_functions():
    for metric in METRICS.values():
        if metric.compute:
            check_metric(metric.compute, metric.ends)
    check_metric(lambda found: float(found.gate_probs.max(0).mean()), (0, 1))


def test_every_registered_metric_of_a_run_is_finite_and_within_its_limits():
    settings = {"train.epochs": 1, "data.train_size": 128, "evaluation.iwae_samples": 100}
    config = moevae.override(moevae.preset("digits"), settings | {"evaluation.iwae_images": 20})
    images, labels = moevae.load_images(config.data), moevae.load_labels(config.data)
    fit = moevae.fit([config], images)
    (found,) = moevae.evaluate(fit.model, fit.configs, images)
    metrics = run_metrics(found, labels, "test", config.data)
    assert set(METRICS) - set(ELSEWHERE) <= metrics.keys()
    for name in set(METRICS) & metrics.keys():
        low, high = METRICS[name].ends
        assert np.isfinite(metrics[name]), name
        assert low - 1e-5 <= metrics[name] <= high + 1e-5, name


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (lambda found: found.gate_probs.max(0), "is a number"),
        (lambda found: 0 * np.log(found.load.min()), "is finite"),
        (lambda found: found.load.max(), "from 0 to 0.5"),
        (lambda found: found.load[0] / 2, "permutations of the experts"),
        (lambda found: found.gate_probs[:, 0].max() / 2, "permutations of the images"),
    ],
)
def test_a_metric_that_breaks_a_law(broken, law):
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"), np.errstate(all="ignore"):
        check_metric(broken, ends=(0, 0.5))


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (lambda found, labels: found.std() / found.std(), "is finite"),
        (lambda found, labels: 1 + clustering(found, labels)["acc"], "from 0 to 1"),
        (lambda found, labels: (found == labels).mean(), "names of the clusters"),
        (lambda found, labels: np.bincount(labels, minlength=4)[0] / len(labels), "names of the classes"),
        (
            lambda found, labels: float(found[3] == found[4]),
            "permutations of the images",
        ),
        (lambda found, labels: 1 - clustering(found, labels)["acc"], "best value"),
    ],
)
def test_a_label_metric_that_breaks_a_law(broken, law):
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"), np.errstate(all="ignore"):
        check_label_metric(broken)
