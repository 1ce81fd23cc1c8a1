"""Scores against brute force: all matchings, all pairs, entropies summed by hand."""

import itertools
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevae.evaluation.clustering import clustering, confusion, matching


@st.composite
def partitions(draw) -> tuple[np.ndarray, np.ndarray]:
    """Assignments and labels of the same images, often with experts or classes that have none."""
    count = draw(st.integers(1, 30))
    num_experts, num_classes = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    assignments = draw(st.lists(st.integers(0, num_experts - 1), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=count, max_size=count))
    return np.array(assignments), np.array(labels)


def brute_force_acc(assignments, labels) -> float:
    """Try every one-to-one map of experts to classes, with idle ones added to the shorter side."""
    size = 1 + max(*assignments, *labels)
    maps = itertools.permutations(range(size))
    return max(np.mean(np.array(classes)[assignments] == labels) for classes in maps)


def entropy(counts) -> float:
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts)


def slow_nmi(assignments, labels) -> float:
    experts, classes = Counter(assignments.tolist()), Counter(labels.tolist())
    both = Counter(zip(assignments.tolist(), labels.tolist(), strict=True))
    mean = (entropy(experts.values()) + entropy(classes.values())) / 2
    shared = 2 * mean - entropy(both.values())
    return shared / mean if mean > 0 else 1.0


def slow_ari(assignments, labels) -> float:
    pairs = list(itertools.combinations(range(len(labels)), 2))
    same_expert = [assignments[i] == assignments[j] for i, j in pairs]
    same_class = [labels[i] == labels[j] for i, j in pairs]
    if same_expert == same_class:
        return 1.0
    agree = sum(a and b for a, b in zip(same_expert, same_class, strict=True))
    chance = sum(same_expert) * sum(same_class) / len(pairs)
    return (agree - chance) / ((sum(same_expert) + sum(same_class)) / 2 - chance)


@given(partitions())
def test_scores_equal_brute_force(pair):
    scores = clustering(*pair)
    assert scores["acc"] == pytest.approx(brute_force_acc(*pair))
    assert scores["nmi"] == pytest.approx(slow_nmi(*pair), abs=1e-9)
    assert scores["ari"] == pytest.approx(slow_ari(*pair), abs=1e-9)


@given(partitions(), st.permutations(range(5)), st.permutations(range(5)))
def test_names_of_experts_and_classes_do_not_matter(pair, experts, classes):
    assignments, labels = pair
    renamed = clustering(np.array(experts)[assignments], np.array(classes)[labels])
    assert renamed == pytest.approx(clustering(assignments, labels), abs=1e-12)


@given(partitions())
def test_matching_is_one_to_one_and_behind_acc(pair):
    assignments, labels = pair
    counts = confusion(assignments, labels, 6, 5)
    classes = matching(counts)
    used = classes[classes >= 0]
    assert len(set(used)) == len(used) == 5
    assert np.mean(classes[assignments] == labels) == pytest.approx(clustering(assignments, labels)["acc"])


@given(partitions())
def test_confusion_counts_every_image_once(pair):
    slow = np.zeros((6, 7), dtype=int)
    for expert, label in zip(*pair, strict=True):
        slow[expert, label] += 1
    assert np.array_equal(confusion(*pair, 6, 7), slow)


@pytest.mark.parametrize(
    ("assignments", "labels", "acc"),
    [
        ([1, 1, 0, 0], [0, 0, 1, 1], 1.0),  # names exchanged
        ([0, 0, 0, 0], [0, 1, 2, 3], 0.25),  # one expert has all
        ([0, 1, 2, 3], [0, 0, 0, 0], 0.25),  # more experts than classes: the excess is wrong
        ([0, 1, 0, 1], [0, 0, 1, 1], 0.5),  # a tie between both matchings
        ([5, 5, 0], [0, 0, 2], 1.0),  # experts and a class without images
        ([0], [3], 1.0),  # one image
    ],
)
def test_acc_of_known_cases(assignments, labels, acc):
    assert clustering(np.array(assignments), np.array(labels))["acc"] == acc


def test_perfect_and_uninformative():
    labels = np.arange(100) % 10
    assert clustering(labels[::-1], labels[::-1]) == pytest.approx({"acc": 1, "nmi": 1, "ari": 1})
    assert clustering(np.zeros(100, int), labels) == pytest.approx(
        {"acc": 0.1, "nmi": 0, "ari": 0}, abs=1e-12
    )


def test_few_images_a_class_raise_no_warning():
    labels = np.arange(60)
    assert clustering(labels, labels)["nmi"] == pytest.approx(1)


def test_left_over_experts_match_nothing():
    assert matching(np.array([[5, 0], [4, 9], [6, 1]])).tolist() == [-1, 1, 0]


@pytest.mark.parametrize(
    ("assignments", "labels", "reason"),
    [
        (np.zeros(0, int), np.zeros(0, int), "at least one"),
        ([0, 1], [0], r"\(2,\).*\(1,\)"),
        ([[0]], [[0]], r"\(1, 1\).*\(1, 1\)"),
        ([-1, 0], [0, 0], "non-negative"),
        ([0.0, 1.0], [0, 1], "integers"),
    ],
)
def test_only_aligned_vectors_of_indices_are_clusterings(assignments, labels, reason):
    with pytest.raises(ValueError, match=reason):
        clustering(np.array(assignments), np.array(labels))


@pytest.mark.parametrize(("num_experts", "num_classes"), [(2, 4), (4, 2)])
def test_confusion_requires_indices_below_the_numbers_of_experts_and_classes(num_experts, num_classes):
    with pytest.raises(ValueError, match=rf"below {num_experts}\b.*below {num_classes}\b"):
        confusion(np.array([0, 3]), np.array([3, 0]), num_experts, num_classes)


def test_metrics_do_without_torch():
    command = "import sys, moevae.evaluation.clustering; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
