"""Every public name has an example that runs, and reading records needs neither torch nor Optuna."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import moevae
import studies

ROOT = Path(__file__).parents[1]
PUBLIC = [(package, name) for package in (moevae, studies) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_examples(package, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    public = getattr(package, name)
    text = inspect.getdoc(public)
    assert text
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"{name} has no example"
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert not results.failed


def test_the_docstring_of_studies_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(studies)
    assert tried > 2
    assert not failed


def test_reading_records_imports_neither_torch_nor_optuna():
    code = """
import studies, sys
runs = studies.load_records("results/objective")
assert len(runs) > 3, runs
assert not {"torch", "optuna", "sklearn"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_public_names_are_listed_before_they_are_imported(package, name):
    assert name in dir(package)
    assert f"`{name}`" in package.__doc__ or not inspect.isfunction(getattr(package, name))


@pytest.mark.parametrize("package", [moevae, studies])
def test_unknown_names(package):
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = package.fits
