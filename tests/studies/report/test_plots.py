"""Axes of figures suit the numbers on them."""

import itertools
import math
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from studies.analysis.metrics import ELBO, NMI, SPEED
from studies.report import plots


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures, in place of their bytes."""
    kept: list[Figure] = []
    monkeypatch.setattr(plots, "draw", kept.append)
    return kept


def curve(last: float):
    mean = np.array([-160.0, -150.0, -145.0, last])
    return mean, mean - 1, mean + 1


@pytest.mark.parametrize(
    ("last", "scale"), [(-140.0, "linear"), (-900.0, "linear"), (-6e3, "symlog"), (-8e10, "symlog")]
)
def test_numbers_of_different_magnitude_have_a_logarithmic_axis(drawn, last, scale):
    lines = [curve(-141.0), curve(-142.0), curve(last)]
    plots.curves({"ELBO": (np.arange(1, 5), lines)}, ["a", "b", "c"], "objective")
    (place,) = drawn[0].axes
    assert place.get_yscale() == scale
    low, high = place.get_ylim()
    assert low < last
    assert -141 < high <= 0
    ticks = [tick for tick in place.get_yticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 8


@pytest.mark.parametrize("letters", [1, 9, 15, 30])
def test_a_legend_stays_on_its_figure(drawn, letters):
    names = [letter * letters for letter in "wxyzwx"]
    panels = dict.fromkeys(("ELBO", "NMI"), (np.arange(1, 5), [curve(-140.0)] * 6))
    plots.curves(panels, names, "balancing")
    figure = drawn[0]
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1


def test_names_of_points_that_are_near_each_other_can_be_read(drawn):
    front = np.array([True] * 6 + [False] * 4)
    means = np.random.default_rng(0).normal(size=(3, 10)) / 100
    means[:, -1] = 10.0
    points = [(mean, mean, mean) for mean in means]
    plots.pareto(points, [NMI, ELBO, SPEED], [str(number) for number in range(1, 11)], front)
    figure = drawn[0]
    figure.draw_without_rendering()
    for place in figure.axes:
        boxes = [text.get_window_extent() for text in place.texts]
        assert {text.get_text() for text in place.texts} == {str(number) for number in range(1, 7)}
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_profile_is_the_share_of_runs_that_reach_a_score(monkeypatch) -> None:
    figures = []
    monkeypatch.setattr(plots, "draw", figures.append)
    scores = np.array([0.2, 0.9, 0.9, 0.5])
    plots.profiles({"NMI": [scores]}, ["cell 1"], [False], "cells")
    (line,) = figures[0].axes[0].lines
    x, y = line.get_data(orig=True)
    for at in np.linspace(0.18, 0.92, 38):
        drawn = y[np.searchsorted(x, at)]  # of a step to the left
        assert line.get_drawstyle() == "steps-pre"
        assert drawn == (scores >= at).mean()


@pytest.mark.parametrize("ends", [(-1e11, 1e11), (-1e9, 0.0), (-1e4, 0.0), (-1e5, 1e3), (0.0, 1e12)])
def test_powers_of_ten_are_labeled_with_room_between_them(ends):
    labeled = plots._powers(ends, 100.0)
    assert {0.0, *ends} <= {*labeled}
    places = [math.copysign(math.log10(max(abs(value), 10.0)) - 1, value) for value in labeled]
    wide = max(places) - min(places)
    assert all(b - a >= wide / plots.MAX_POWERS - 1e-9 for a, b in itertools.pairwise(places))
