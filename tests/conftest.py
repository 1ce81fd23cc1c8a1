"""What every test needs: moevae imported before torch, one thread, and restored floating-point modes."""

import os
import signal
import sys

import pytest
from hypothesis import settings
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("NOX_CURRENT_SESSION", None)  # it changes the commands that studies prints

import moevae  # noqa: F401 - before torch, whose libraries read the variables that it sets

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Reports are noted in a cache of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made and not drawn, which takes most of the time of a report."""
    from moevae.visualization import style
    from studies.report import plots, run_plots

    blank = style.Drawn(Image.new("RGB", (1, 1)))
    for module in (style, plots, run_plots):
        monkeypatch.setattr(module, "draw", lambda figure: blank)


@pytest.fixture
def one_thread_again():
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _denormals():
    """Keep training's flushing of denormals from other tests, Hypothesis above all."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
