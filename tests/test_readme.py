"""The examples of the README run, and the links of all pages lead to files."""

import doctest
import re
from pathlib import Path

import pytest

import moevae
from studies.design import design as designs

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_python_of_the_readme_runs():
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert tried > 5
    assert not failed


def test_the_package_docstring_runs():
    failed, tried = doctest.testmod(moevae)
    assert tried > 3
    assert not failed


def test_the_profile_of_the_readme_is_valid(tmp_path):
    (text,) = blocks("toml")
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    design = designs.load_design(str(path))
    assert len(design.cells) == 4
    assert len(design.seeds) == 10


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"])
def test_links_lead_to_files(page):
    if "generated" in page.parts or "_build" in page.parts:
        pytest.skip("made by the build")
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
    absent = [link for link in links if "generated/" not in link and not (page.parent / link).exists()]
    assert not absent
