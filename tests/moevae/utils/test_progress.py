import io

import pytest
from rich.console import Console

from moevae.utils import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is advanced by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_few_lines_show_the_time_left(clock):
    out = io.StringIO()
    with progress.show_progress(Console(file=out)) as note:
        for epoch in range(1, 101):
            clock[0] += 1.0
            note(epoch, 100, {"loss": 1234.5678, "NMI": 0.25})
    lines = out.getvalue().splitlines()
    assert lines[0] == "[epoch 1/100] loss 1235, NMI 0.25"
    assert lines[1] == "[epoch 11/100, 89 s left] loss 1235, NMI 0.25"
    assert lines[-1].startswith("[epoch 100/100, 0 s left]")
    assert len(lines) == 11


def test_the_time_left_counts_the_epochs_of_this_start(clock):
    out = io.StringIO()
    with progress.show_progress(Console(file=out)) as note:
        for epoch in range(61, 101):
            clock[0] += 1.0
            note(epoch, 100, {})
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("[epoch 61/100]")
    assert lines[1].startswith("[epoch 71/100, 29 s left]")


def test_on_a_terminal_a_bar_shows_epoch_and_metrics():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with progress.show_progress(console) as note:
        note(3, 10, {"loss": 12.0, "validation ELBO": -30.25})
    shown = out.getvalue()
    assert "epoch 3/10" in shown
    assert "loss 12, validation ELBO -30.25" in shown


def test_evaluation_counts_from_the_first_image(clock):
    out = io.StringIO()
    with progress.show_evaluation(Console(file=out)) as note:
        for done in range(128, 2000, 128):
            clock[0] += 4.0
            note(done, 2000)
        clock[0] += 4.0
        note(2000, 2000)
    lines = out.getvalue().splitlines()
    assert lines[0] == "[image 128/2,000]"
    assert lines[1] == "[image 512/2,000, 46 s left]"
    assert lines[-1] == "[image 2,000/2,000, 0 s left]"
    assert len(lines) == 6


def test_an_evaluation_without_long_bounds_prints_no_line():
    out = io.StringIO()
    with progress.show_evaluation(Console(file=out)):
        pass
    assert out.getvalue() == ""
