"""Axes of figures suit the numbers on them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from studies import plots


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures, in place of their bytes."""
    kept: list[Figure] = []
    monkeypatch.setattr(plots, "png", lambda figure: kept.append(figure) or b"")
    return kept


def curve(last: float):
    mean = np.array([-160.0, -150.0, -145.0, last])
    return mean, mean - 1, mean + 1


@pytest.mark.parametrize(
    ("last", "scale"), [(-140.0, "linear"), (-900.0, "linear"), (-6e3, "symlog"), (-8e10, "symlog")]
)
def test_numbers_apart_by_orders_of_magnitude_stand_on_an_axis_of_powers_of_ten(drawn, last, scale):
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
