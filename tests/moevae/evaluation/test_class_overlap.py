"""Merges and splits of counts made by hand, and laws of any counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from moevae.evaluation.class_overlap import MERGED, SPLIT, describe_overlap, merged, split

COUNTS = np.array(
    [
        [51, 2, 0, 47],  # has most of classes 0 and 3
        [9, 98, 30, 3],
        [0, 0, 70, 0],
        [0, 0, 0, 0],
    ]
)
tables = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 9))


def test_merged_and_split_classes_of_a_hand_made_table():
    assert merged(COUNTS) == {0: (0, 3)}
    assert split(COUNTS) == {2: (1, 2)}
    assert describe_overlap(COUNTS, ["4", "1", "2", "9"]) == [
        "expert 0 draws 4 (51%) and 9 (47%)",
        "2 is split between experts 2 (70%) and 1 (30%)",
    ]


def test_good_clusters_share_nothing():
    assert merged(50 * np.eye(10, dtype=int)) == split(50 * np.eye(10, dtype=int)) == {}
    assert describe_overlap(50 * np.eye(10, dtype=int), list("0123456789")) == []


def test_an_expert_that_has_all_images_has_all_classes():
    counts = np.zeros((3, 5), dtype=int)
    counts[1] = 7
    assert merged(counts) == {1: (0, 1, 2, 3, 4)}
    assert describe_overlap(counts, list("abcde")) == [
        "expert 1 draws a (20%), b (20%), c (20%), d (20%) and e (20%)"
    ]


@pytest.mark.parametrize(("won", "has"), [(50, False), (51, True)])
def test_half_of_a_class_is_not_most_of_it(won, has):
    counts = np.array([[100, won], [0, 100 - won]])
    assert (merged(counts) == {0: (0, 1)}) is has
    assert MERGED == 0.5


@pytest.mark.parametrize(("won", "divides"), [(24, False), (25, True)])
def test_a_quarter_of_a_class_is_a_part_of_it(won, divides):
    assert (split(np.array([[100 - won], [won]])) == {0: (0, 1)}) is divides
    assert SPLIT == 0.25


@given(tables)
def test_a_class_belongs_to_one_expert_at_most_and_empty_ones_to_none(counts):
    owned = [c for classes in merged(counts).values() for c in classes]
    assert len(set(owned)) == len(owned)
    divided = split(counts)
    for c in range(counts.shape[1]):
        shares = [row[c] / max(1, sum(counts[:, c])) for row in counts]
        assert (c in divided) == (sum(share >= 0.25 for share in shares) > 1)
        if not any(counts[:, c]):
            assert c not in owned


@given(tables)
def test_the_order_of_experts_does_not_matter(counts):
    assert sorted(merged(counts[::-1]).values()) == sorted(merged(counts).values())
    assert split(counts[::-1]).keys() == split(counts).keys()
