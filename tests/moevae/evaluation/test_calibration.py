"""Calibration against slow loops and scikit-learn; the naming of experts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import label_binarize

from moevae.config.schema import DataConfig
from moevae.data.splits import halves
from moevae.evaluation.calibration import (
    BINS,
    brier,
    calibration_metrics,
    class_probs,
    classes_of_experts,
    reliability,
)
from moevae.evaluation.clustering import clustering


def gate(experts: int, images: int, seed: int = 0, heat: float = 1.0) -> np.ndarray:
    """Probabilities of experts, [K, N]."""
    logits = np.random.default_rng(seed).normal(size=(experts, images)) / heat
    return np.exp(logits) / np.exp(logits).sum(0)


def answers(classes: int, images: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, images)


def slow_ece(probs, labels) -> float:
    """Guo et al. 2017, equations 2, 3 and 5: bins ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, BINS + 1):
        inside = [i for i, row in enumerate(probs) if (m - 1) / BINS < max(row) <= m / BINS]
        if inside:
            accuracy = sum(int(np.argmax(probs[i])) == labels[i] for i in inside) / len(inside)
            confidence = sum(max(probs[i]) for i in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


sizes = st.tuples(
    st.integers(1, 6), st.integers(3, 6), st.integers(1, 60), st.integers(0, 99), st.sampled_from([0.1, 1, 9])
)


@given(sizes)
def test_ece_and_brier_equal_slow_loops_and_scikit_learn(size):
    _, classes, images, seed, heat = size
    probs, labels = gate(classes, images, seed, heat).T, answers(classes, images, seed)
    bins = reliability(probs, labels)
    assert bins.ece == pytest.approx(slow_ece(probs, labels), abs=1e-12)
    assert bins.images.sum() == images
    true = label_binarize(labels, classes=range(classes))
    assert brier(probs, labels) == pytest.approx(classes * mean_squared_error(true, probs))


@given(sizes)
def test_class_probabilities_are_probabilities_whatever_the_number_of_experts(size):
    experts, classes, images, seed, heat = size
    probs, labels = gate(experts, images, seed, heat), answers(classes, images, seed)
    named = classes_of_experts(probs, labels, classes)
    assert len(set(named)) == min(experts, classes)
    assert class_probs(probs, named, classes).sum(1) == pytest.approx(1)


@given(sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_experts_does_not_matter(size, random):
    experts, classes, _, seed, heat = size
    # Classes as clear as this leave the matching no ties.
    labels = np.arange(20 * classes) % classes
    probs = gate(max(experts, classes), len(labels), seed, heat)
    probs[:classes] += 3 * np.eye(classes)[:, labels]
    probs /= probs.sum(0)
    order = random.sample(range(len(probs)), len(probs))
    naming = np.arange(len(labels)) % (2 * classes) < classes
    first, _ = calibration_metrics(probs, labels, classes, naming)
    assert calibration_metrics(probs[order], labels, classes, naming)[0] == pytest.approx(first)


def test_a_bin_holds_its_upper_end():
    probs = np.array([[k / BINS, 1 - k / BINS] for k in range(8, BINS + 1)])
    found = reliability(probs, np.zeros(len(probs), dtype=int))
    assert found.images.tolist() == [0] * 7 + [1] * 8


def test_a_gate_that_is_certain_errs_as_often_as_it_is_wrong():
    labels = np.repeat([0, 1, 2, 3], 50)
    experts = np.where(np.arange(200) % 10 < 8, (labels + 1) % 4, labels)
    naming = np.arange(200) % 20 < 10
    found, bins = calibration_metrics(np.eye(4)[:, experts], labels, 4, naming)
    wrong = 1 - clustering(experts, labels)["acc"]
    assert found == pytest.approx({"ece": wrong, "brier": 2 * wrong})
    assert bins.images.tolist() == [0] * 14 + [100]


def test_true_probabilities_are_calibrated():
    source = np.random.default_rng(0)
    probs = source.dirichlet([0.5] * 5, 100_000)
    labels = (probs.cumsum(1) < source.random((100_000, 1))).sum(1)
    naming = np.arange(100_000) < 50_000
    found, bins = calibration_metrics(probs.T, labels, 5, naming)
    assert found["ece"] < 0.01
    assert found["brier"] == pytest.approx(1 - np.square(probs[50_000:]).sum(1).mean(), abs=0.01)
    assert np.abs(bins.confidence - bins.accuracy)[bins.images > 500].max() < 0.05


def test_experts_left_over_join_the_class_of_most_of_their_probability():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probs = np.array(
        [
            [0.8, 0.8, 0.2, 0.0, 0.0, 0.0],
            [0.1, 0.1, 0.1, 0.9, 0.9, 0.3],
            [0.1, 0.1, 0.7, 0.0, 0.0, 0.0],  # wins one image of class 0
            [0.0, 0.0, 0.0, 0.1, 0.1, 0.7],  # wins one image of class 1
        ]
    )
    named = classes_of_experts(probs, labels, 2)
    assert named.tolist() == [0, 1, 0, 1]
    assert class_probs(probs, named, 2)[:, 0] == pytest.approx([0.9, 0.9, 0.9, 0, 0, 0])


def test_a_class_without_an_expert_is_never_named():
    labels = np.array([0, 0, 1, 1, 2])
    probs = np.array([[1.0, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    named = classes_of_experts(probs, labels, 3)
    assert named.tolist() == [0, 1]
    assert brier(class_probs(probs, named, 3), labels) == pytest.approx(2 / 5)


def test_scored_images_do_not_determine_the_matching():
    probs, labels = gate(4, 40), answers(4, 40)
    naming = np.arange(40) % 2 == 0
    changed = np.where(naming, labels, (labels + 1) % 4)
    first, second = (classes_of_experts(probs[:, naming], some[naming], 4) for some in (labels, changed))
    assert first.tolist() == second.tolist()
    assert (
        calibration_metrics(probs, labels, 4, naming)[0] != calibration_metrics(probs, changed, 4, naming)[0]
    )


def test_one_image_and_broken_probabilities_raise_no_warning():
    found, _ = calibration_metrics(np.array([[1.0], [0.0]]), np.array([0]), 2, np.array([False]))
    assert found == {"ece": 0, "brier": 0}
    found, _ = calibration_metrics(
        np.full((2, 4), np.nan), np.array([0, 1, 0, 1]), 2, np.array([True, True, False, False])
    )
    assert np.isnan(list(found.values())).all()


def test_halves_are_halves_and_fixed_by_the_seed_of_the_split():
    first = halves(DataConfig(), "test", 101)
    assert first.sum() == 50
    assert np.array_equal(first, halves(DataConfig(binarization="none"), "test", 101))
    assert not np.array_equal(first, halves(DataConfig(split_seed=1), "test", 101))
    assert not np.array_equal(first, halves(DataConfig(), "validation", 101))
