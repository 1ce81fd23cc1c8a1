"""Whatever is typed as a setting is taken, or refused in one line that names the key."""

import contextlib
import io
import json
import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moevae.config import overrides
from studies import __main__ as cli

KEYS = [*overrides.keys(), "objective"]
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 1e308, 2**63, math.inf, math.nan, -0.0, 1e-320])
)
SIMPLE = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=10))
VALUES = st.one_of(
    SIMPLE, st.lists(SIMPLE, max_size=3), st.dictionaries(st.text(max_size=5), SIMPLE, max_size=2)
)
NEAR = st.builds(
    lambda key, at, letter: key[:at] + letter + key[at + 1 :],
    st.sampled_from(KEYS),
    st.integers(0, 20),
    st.text(max_size=2),
)
RIGHT = st.sampled_from(KEYS)


def letters(text: str) -> str:
    return re.sub(r"\W", "", text)


def check(key: str, value: object) -> bool:
    """Ask for a study with that setting; return whether it was taken."""
    text = value if isinstance(value, str) else json.dumps(value)
    told, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(out):
        code = cli.main(["ablate", "--dry-run", "--json", f"--set={key}={text}"])
    if code == 2:
        (line,) = told.getvalue().splitlines()
        assert line.startswith("error: ")
        named = letters(key.partition("=")[0])
        assert named in letters(line) or (key == "data.name" and "data set" in line), line
        return False
    assert code == 0
    assert json.loads(out.getvalue())["cells"]
    return True


@pytest.mark.parametrize("examples", [100, pytest.param(1000, marks=pytest.mark.faults)])
def test_any_setting_is_taken_or_refused_by_name(examples, reliability):
    taken = []

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(RIGHT, RIGHT, NEAR, st.text(max_size=12)), VALUES)
    def run(key, value):
        taken.append(check(key, value))

    run()
    refused = len(taken) - sum(taken)
    reliability(
        "configs",
        f"Hypothesis, {len(taken):,} settings",
        f"no traceback; {sum(taken):,} taken, {refused:,} refused in one line that names the key",
        sized=True,
    )
