"""The laws of baselines hold for every entry of the registry; the check refuses functions that break them."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from moevae.spectral import clusters as clusters_of_graphs
from studies.baselines import clustering
from studies.baselines.checks import check_baseline
from studies.design.baselines import BASELINES, Baseline
from studies.execution.baseline_fit import BaselineResult, clusters, one_hot
from studies.records.schema import Method

INSTALLED = [
    key for key, each in BASELINES.items() if not each.package or importlib.util.find_spec(each.package)
]


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch):
    monkeypatch.setattr(clusters_of_graphs, "CANDIDATES_EACH", 1)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(
            key,
            marks=[pytest.mark.peers] * bool(BASELINES[key].package)
            + [pytest.mark.slow] * (key == "graph-unknown"),
        )
        for key in INSTALLED
    ],
)
def test_baselines(key):
    check_baseline(BASELINES[key])


def of_assignments(assign, num_experts=4):
    """Return a baseline whose function assigns the images of a split."""

    def function(context):
        def measure(split):
            return clusters(one_hot(assign(context, split) % num_experts, num_experts))

        return BaselineResult(measure, 1.0, 200, num_experts)

    return function


def ones(context, split):
    return np.ones(len(getattr(context.images, split)), dtype=np.int64)


UNSEEDED = np.random.default_rng(0)
BROKEN = {
    "gives the same result": of_assignments(lambda *of: UNSEEDED.integers(0, 4, len(ones(*of)))),
    "test images do not decide": of_assignments(
        lambda context, split: ones(context, split) * int(255 * context.images.test.float().sum())
    ),
    "probabilities have shape": lambda context: replace(of_assignments(ones)(context), num_experts=5),
    "are positive": lambda context: replace(of_assignments(ones)(context), seconds=0.0),
    "metrics are finite": lambda context: replace(
        of_assignments(ones)(context),
        measure=lambda split: clusters(one_hot(ones(context, split), 4), {"mixture_elbo": float("nan")}),
    ),
    "probabilities of an image": lambda context: replace(
        of_assignments(ones)(context), measure=lambda split: clusters(2 * one_hot(ones(context, split), 4))
    ),
}


@pytest.mark.parametrize("law", BROKEN)
def test_a_baseline_that_breaks_a_law(law, monkeypatch):
    monkeypatch.setattr(clustering, "broken", BROKEN[law], raising=False)
    with pytest.raises(AssertionError, match=f"^broken law: .*{law}"):
        check_baseline(Baseline(Method(name="broken"), "studies.baselines.clustering:broken"))


def test_an_oracle_that_repeats_the_labels_of_the_test_split(monkeypatch):
    def repeat(context):
        return of_assignments(lambda context, split: getattr(context.labels, split), 10)(context)

    monkeypatch.setattr(clustering, "broken", repeat, raising=False)
    oracle = Baseline(Method(name="broken", oracle=True), "studies.baselines.clustering:broken")
    with pytest.raises(AssertionError, match=r"^broken law: the labels of the test split"):
        check_baseline(oracle)
