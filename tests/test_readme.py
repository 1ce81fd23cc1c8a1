"""What the README shows is true."""

import doctest
import re
from pathlib import Path

import moevae
from studies import designs

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_its_python_runs():
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert tried > 5
    assert not failed


def test_the_package_docstring_runs():
    failed, tried = doctest.testmod(moevae)
    assert tried > 3
    assert not failed


def test_its_profile_is_one(tmp_path):
    (text,) = blocks("toml")
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    design = designs.load(str(path))
    assert len(design.cells) == 4
    assert len(design.seeds) == 5
