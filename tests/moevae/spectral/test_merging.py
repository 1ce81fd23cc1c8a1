"""Merging by information: against brute force over all pairs."""

import itertools

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from moevae.spectral.merging import information, joint, merge_all, merge_losses


def random_joint(count, seed=0):
    pairs = np.random.default_rng(seed).gamma(0.3, size=(count, count))
    return (pairs + pairs.T) / pairs.sum() / 2


def merged(table, first, second):
    """The joint distribution once two clusters are one, by the definition."""
    into = np.eye(len(table))
    into[:, first] += into[:, second]
    into = np.delete(into, second, 1)
    return into.T @ table @ into


def test_information_is_that_of_the_pairs_of_neighbors():
    random = np.random.default_rng(1)
    labels, neighbors = random.integers(0, 4, 50), random.integers(0, 50, (50, 3))
    ones, others = np.repeat(labels, 3), labels[neighbors].ravel()
    expected = mutual_info_score(np.concatenate([ones, others]), np.concatenate([others, ones]))
    assert information(joint(labels, neighbors, 4)) == pytest.approx(expected)
    assert information(joint(labels, neighbors, 6)) == pytest.approx(expected)  # two empty clusters


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_each_merge_is_the_information_before_less_that_after(seed):
    table = random_joint(6, seed)
    lost = merge_losses(table)
    for first, second in itertools.combinations(range(6), 2):
        expected = information(table) - information(merged(table, first, second))
        assert lost[first, second] == pytest.approx(expected, abs=1e-12)
    assert np.isinf(lost[np.tril_indices(6)]).all()


@pytest.mark.parametrize("seed", range(3))
def test_each_merge_is_the_one_that_loses_least(seed):
    table, labels = random_joint(7, seed), np.arange(7)
    merges = merge_all(table)
    for count in range(6, 0, -1):
        pairs = itertools.combinations(range(len(table)), 2)
        first, second = min(pairs, key=lambda pair: -information(merged(table, *pair)))
        assert merges.losses[count + 1] == pytest.approx(
            information(table) - information(merged(table, first, second)), abs=1e-12
        )
        shares = table.sum(0)[[first, second]]
        assert merges.entropies[count + 1] == pytest.approx(shares.sum() * entropy(shares))
        table = merged(table, first, second)
        labels = np.where(labels == second, first, labels - (labels > second))
        assert merges.merged(np.arange(7), count).tolist() == labels.tolist()
    assert merges.losses.sum() == pytest.approx(information(random_joint(7, seed)))


def test_more_clusters_than_there_are_stay_as_they_are():
    assert merge_all(random_joint(3)).merged(np.array([2, 0, 1]), 5).tolist() == [2, 0, 1]


def test_empty_clusters_are_merged_first_without_a_loss():
    table = np.zeros((5, 5))
    table[1:4, 1:4] = random_joint(3)
    merges = merge_all(table)
    assert merges.losses[4:] == pytest.approx([0, 0], abs=1e-12)
    assert merges.merged(np.array([1, 2, 3]), 3).tolist() in ([0, 1, 2], [1, 2, 0], [2, 0, 1])
