"""A study of eight cells for the tests of the dashboard."""

import shutil

import pytest
from dashboards import AXES

from moevae.config import overrides
from studies.testing import synthetic
from studies.verify import rebuild


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A study of eight cells and two seeds, with its storage."""
    folder = tmp_path_factory.mktemp("dashboard") / "made-up"
    base = overrides.override(synthetic.digits(), {"train.epochs": 4})
    synthetic.write(folder, synthetic.plan(AXES, seeds=(0, 1), base=base))
    rebuild.rebuild(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "made-up")
