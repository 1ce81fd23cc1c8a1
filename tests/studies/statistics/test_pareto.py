from __future__ import annotations

import numpy as np

from studies.statistics import pareto


def test_the_front_is_that_of_a_slow_loop() -> None:
    draw = np.random.default_rng(0)
    means = draw.normal(size=(30, 3))
    reach = draw.uniform(0, 0.5, size=(30, 3))
    low, high = means - reach, means + reach
    oracle = [
        not any(
            all(means[other] >= means[cell]) and any(low[other] > high[cell])
            for other in range(30)
            if other != cell
        )
        for cell in range(30)
    ]
    assert pareto.front(means, low, high).tolist() == oracle
    assert 0 < sum(oracle) < 30


def test_the_highest_mean_of_each_measure_is_on_the_front() -> None:
    draw = np.random.default_rng(1)
    for _ in range(50):
        means = draw.normal(size=(12, 3))
        front = pareto.front(means, means - 0.1, means + 0.1)
        assert front[means.argmax(axis=0)].all()


def test_ties_and_single_runs_are_all_on_the_front() -> None:
    equal, none = np.ones((4, 2)), np.full((4, 2), np.nan)
    assert pareto.front(equal, equal - 1, equal + 1).all()
    assert pareto.front(np.arange(8.0).reshape(4, 2), none, none).all()


def test_a_cell_without_a_mean_is_not_on_the_front_and_beats_none() -> None:
    means = np.array([[np.nan, 9.0], [1.0, 1.0]])
    assert pareto.front(means, means - 0.1, means + 0.1).tolist() == [False, True]
