"""Soft voting after alignment: invariant to the order of clusters, and better than single noisy runs."""

import itertools

import numpy as np
import pytest

from moevae.evaluation.clustering import clustering
from moevae.evaluation.consensus import consensus


def noisy(seed, kinds, wrong=0.3, experts=4):
    """Probabilities of a clustering of `kinds` with wrong answers, in an order of its own, [K, N]."""
    source = np.random.default_rng(seed)
    answers = np.where(source.random(len(kinds)) < wrong, source.integers(experts, size=len(kinds)), kinds)
    logits = source.normal(size=(experts, len(kinds)))
    logits[answers, np.arange(len(kinds))] += 3
    probs = np.exp(logits) / np.exp(logits).sum(0)
    return probs[source.permutation(experts)]


KINDS = np.random.default_rng(9).integers(4, size=500)


def test_members_that_differ_in_the_order_of_their_clusters_only_agree():
    first = noisy(0, KINDS)
    for order in itertools.permutations(range(4)):
        assert consensus([first, first[list(order)]]) == pytest.approx(first)


def test_it_is_the_best_alignment_of_all():
    """Against all permutations: the expected number of images on which a run agrees with the reference."""
    first, second = noisy(1, KINDS), noisy(2, KINDS)
    best = max(itertools.permutations(range(4)), key=lambda order: (first * second[list(order)]).sum())
    assert consensus([first, second]) == pytest.approx((first + second[list(best)]) / 2)
    assert consensus([second, first], reference=1) == pytest.approx(consensus([first, second]))


def test_consensus_improves_independent_errors():
    probs = [noisy(seed, KINDS) for seed in range(15)]
    alone = [clustering(each.argmax(0), KINDS)["acc"] for each in probs]
    together = clustering(consensus(probs).argmax(0), KINDS)["acc"]
    assert max(alone) < 0.9
    assert together > 0.98


def test_probabilities_stay_probabilities():
    made = consensus([noisy(seed, KINDS) for seed in range(3)], reference=2)
    assert made.sum(0) == pytest.approx(np.ones(len(KINDS)))
    assert made.min() >= 0


@pytest.mark.parametrize("shapes", [[], [(3, 4), (4, 4)], [(3, 4), (3, 5)], [(3,)]])
def test_consensus_requires_one_shape(shapes):
    with pytest.raises(ValueError, match=r"expected one shape, \[K, N\]"):
        consensus([np.ones(shape) for shape in shapes])
