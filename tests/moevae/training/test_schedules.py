"""Temperature schedules: end points, direction, and the curve that the name promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevae.config.registry import SCHEDULES
from moevae.config.schema import RoutingConfig, TrainConfig
from moevae.training.schedules import kl_weight, temperature

POSITIVE = st.floats(1e-3, 1e3)
MOVING = sorted(SCHEDULES.keys() - {"constant"})


def routing(kind, start, end):
    return RoutingConfig(temperature_schedule=kind, temperature=start, final_temperature=end)


@given(st.sampled_from(MOVING), POSITIVE, POSITIVE)
def test_schedules_have_the_configured_ends(kind, start, end):
    assert temperature(routing(kind, start, end), 0.0) == pytest.approx(start)
    assert temperature(routing(kind, start, end), 1.0) == pytest.approx(end)


@given(st.sampled_from(sorted(SCHEDULES)), POSITIVE, POSITIVE)
def test_schedules_are_monotonic_between_their_ends(kind, start, end):
    path = np.array([temperature(routing(kind, start, end), p) for p in np.linspace(0, 1, 21)])
    assert (np.diff(path) * np.sign(end - start) >= -1e-9 * max(start, end)).all()
    assert (path > 0).all()


def test_the_stages_of_the_iwae_literature():
    """Burda et al. (2016): 3^i epochs at the rate 10^(-i/7), i = 0 to 7."""
    path = [stage for stage in range(8) for _ in range(3**stage)]
    assert len(path) == 3280
    for epoch, stage in enumerate(path):
        found = SCHEDULES["iwae"](1e-3, 1e-4, (epoch + 0.5) / 3280)
        assert found == pytest.approx(1e-3 * 10 ** (-stage / 7))


def test_the_weight_of_the_divergence_rises_to_one():
    path = [kl_weight(TrainConfig(kl_warmup=0.4), p) for p in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)]
    assert path == pytest.approx([0, 0.25, 0.5, 1, 1, 1])
    assert kl_weight(TrainConfig(), 0.0) == 1.0


def test_constant_ignores_the_final_temperature():
    assert {temperature(routing("constant", 2.0, 9.0), p) for p in (0.0, 0.3, 1.0)} == {2.0}


@pytest.mark.parametrize(
    ("kind", "progress", "expected"),
    [
        ("linear", 0.25, 4 + 0.25 * (1 - 4)),
        ("exponential", 0.5, 2.0),  # the geometric mean of 4 and 1
        ("cosine", 0.5, 2.5),
        ("cosine", 1 / 3, 1 + 3 * 0.75),
    ],
)
def test_curve(kind, progress, expected):
    assert temperature(routing(kind, 4.0, 1.0), progress) == pytest.approx(expected)
