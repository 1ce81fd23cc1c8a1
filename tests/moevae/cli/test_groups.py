"""The console script: commands of all installed groups, listed without loading their code."""

import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import moevae
from moevae import __main__ as core
from moevae.cli import groups
from moevae.cli.commands import CORE
from studies import __main__ as studies
from studies.cli.commands import STUDIES

HEAVY = {"torch", "optuna", "pandas", "tyro", "pydantic", "numpy", "matplotlib"}
OWN = [each.name for each in CORE.commands]
THEIRS = [each.name for each in STUDIES.commands]


def listed(page: str) -> list[str]:
    """The commands of an overview, in order."""
    return [line.split()[0] for line in page.splitlines() if line[:2] == "  " and line[2:3].strip()]


@pytest.mark.parametrize("typed", [[], ["--help"], ["-h"]])
@pytest.mark.parametrize(("main", "names"), [(core.main, OWN + THEIRS), (studies.main, THEIRS)])
def test_a_bare_command_line_lists_each_command_with_an_example(typed, main, names, capsys):
    assert main(typed) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert listed(captured.out) == names
    lines = captured.out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in names:
        assert any(line.strip().split()[:2] == ["moevae", name] for line in lines)


@pytest.mark.parametrize("command", [*CORE.commands, *STUDIES.commands], ids=lambda each: each.name)
def test_the_table_of_commands_agrees_with_their_functions(command):
    assert command.load().__name__.lower() == command.name.replace("-", "")
    assert len(command.summary) <= 61  # next to its name, in 80 columns
    assert command.example.split()[:2] == ["moevae", command.name]


@pytest.mark.parametrize("main", [core.main, studies.main])
def test_the_version_is_that_of_the_package(main, capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"moevae {moevae.__version__}\n"


@pytest.mark.parametrize(
    ("main", "typed", "named"),
    [
        (core.main, "trian", "train?"),
        (core.main, "ablat", "ablate?"),
        (studies.main, "serch", "search?"),
        (studies.main, "train", ", ".join(THEIRS)),
        (core.main, "--verison", "moevae --help"),
    ],
)
def test_an_unknown_command_is_one_line_that_names_the_nearest(main, typed, named, capsys):
    assert main([typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert typed in line
    assert named in line


def test_a_command_of_studies_runs_under_the_name_that_was_typed(capsys, tmp_path):
    assert core.main(["list", "--results", str(tmp_path / "none")]) == 0
    assert "quick" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        core.main(["verify"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: moevae verify needs STUDY|DIR: ")


@pytest.mark.parametrize("package", ["moevae", "studies"])
@pytest.mark.parametrize("typed", ["--help", "--version", "trian"])
def test_an_overview_loads_nothing_heavy(package, typed):
    script = (
        f"import sys; from {package}.__main__ import main; main([{typed!r}]);"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("package", ["moevae", "studies"])
def test_python_m_states_how_it_was_called(package):
    command = [sys.executable, "-m", package]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: python -m {package} COMMAND")


GREETINGS = """
from moevae.cli.groups import Command, CommandGroup

GREET = Command("greet", "builtins:dict", "Greet.\\n\\nExamples:\\n  moevae greet")
GROUP = CommandGroup("Greetings", "Greet.", (GREET,), "greetings:run")

def run(typed, prog):
    print(prog, *typed)
    return 7
"""


class Elsewhere:
    """Another distribution."""

    name = "elsewhere"


class Stale:
    """This distribution, as an earlier version installed it."""

    name = "moevae"


def point(name: str, value: str, dist: type) -> EntryPoint:
    found = EntryPoint(name, value, groups.ENTRY_POINTS)
    vars(found)["dist"] = dist
    return found


def test_groups_of_other_distributions_are_loaded_and_broken_ones_are_skipped(monkeypatch, tmp_path, capsys):
    (tmp_path / "greetings.py").write_text(GREETINGS)
    monkeypatch.syspath_prepend(tmp_path)
    names = ("greetings:GROUP", "nowhere.at.all:GROUP", "moevae:errors")
    theirs = [point("theirs", name, Elsewhere) for name in names]
    monkeypatch.setattr(groups, "entry_points", lambda group: theirs)
    with pytest.warns(UserWarning, match=r"^commands of '") as caught:
        assert core.main([]) == 0
    assert listed(capsys.readouterr().out) == [*OWN, *THEIRS, "greet"]
    assert [str(each.message).split("'")[1] for each in caught] == list(names[1:])
    with pytest.warns(UserWarning, match=r"^commands of '"):
        assert core.main(["greet", "--loud"]) == 7
    assert capsys.readouterr().out == "moevae greet --loud\n"


@pytest.mark.parametrize("stale", [[], [point("studies", "studies.gone:GROUP", Stale)]])
def test_a_checkout_needs_no_metadata_of_its_own(stale, monkeypatch):
    monkeypatch.setattr(groups, "entry_points", lambda group: stale)
    assert groups.installed() == [STUDIES]


@pytest.mark.parametrize("content", [None, "[project]\nname = 'other'\n", "[project", "[project]\n"])
def test_without_a_checkout_metadata_identify_the_code(content, monkeypatch, tmp_path):
    (tmp_path / "moevae").mkdir()
    if content:
        (tmp_path / "pyproject.toml").write_text(content)
    monkeypatch.setattr(moevae, "__file__", str(tmp_path / "moevae" / "__init__.py"))
    monkeypatch.setattr(groups, "entry_points", lambda group: [])
    assert groups.installed() == []
    installed = [point("studies", "studies.cli.commands:STUDIES", Stale)]
    monkeypatch.setattr(groups, "entry_points", lambda group: installed)
    assert groups.installed() == [STUDIES]


def test_the_core_names_no_study():
    for path in Path(groups.__file__).parent.glob("*.py"):
        assert "import studies" not in path.read_text()
        assert "from studies" not in path.read_text()


def described(page: str) -> dict[str, str]:
    """Return the help text of each option of a command."""
    lines = "\n".join(line.strip("│ ") for line in page.splitlines())
    blocks = re.findall(r"^(--[\w-]+)(?: \S+)?\s+(.*?)(?=^--|^\W*$|\Z)", lines, re.M | re.S)
    return {option: " ".join(text.split()) for option, text in blocks}


def test_an_option_of_several_commands_has_the_same_help_in_each(capsys):
    texts = {}
    for name in OWN + THEIRS:
        with pytest.raises(SystemExit):
            core.main([name, "--help"])
        for option, text in described(capsys.readouterr().out).items():
            texts.setdefault(option, []).append(text)
    shared = {option: read for option, read in texts.items() if len(read) > 1}
    assert {"--data-root", "--json", "--memory", "--results", "--storage", "--workers"} <= shared.keys()
    own = {"--count", "--device", "--name", "--output", "--profile", "--preset", "--seed", "--seeds", "--set"}
    assert {option for option, read in shared.items() if len(set(read)) > 1} <= own | {"--dry-run"}
