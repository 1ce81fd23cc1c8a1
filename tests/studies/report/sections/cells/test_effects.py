"""Which levels of an axis a line may join."""

import pytest

from studies.report.sections.cells.effects import in_order


@pytest.mark.parametrize("levels", [[0, 0.3, 20], [2.0, 1.0], [5]])
def test_numbers_that_rise_or_fall_are_joined(levels):
    assert in_order(levels)


@pytest.mark.parametrize(
    "levels", [[100, 25, 400], ["soft", "hard"], [False, True], [[128], [400]], [None, 1]]
)
def test_other_levels_are_not_in_order(levels):
    assert not in_order(levels)
