"""Groups of commands, found by entry point, and the dispatch of a command line.

This module and the tables of commands import neither the options nor the commands: `--help` must be fast.
"""

from __future__ import annotations

import pkgutil
import textwrap
import tomllib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import moevae
from moevae.cli.process import exit_code
from moevae.errors import ConfigError
from moevae.utils.redaction import register_secret
from moevae.utils.suggest import closest_name

ENTRY_POINTS = "moevae.commands"
"""The entry-point group; each entry names a `CommandGroup`."""

_WIDTH, _COLUMN = 80, 19


@dataclass(frozen=True)
class Command:
    """One command: its name, its options, and its help."""

    name: str
    options: str
    """The dataclass of its options, as `module:class`; imported when the command is chosen."""
    help: str
    """The list of all commands shows its first line and its first example."""
    settings: tuple[str, ...] = ("",)
    """Prefixes of the settings that `--set` may change, if the command has this option."""

    def load(self) -> type:
        """Import and return the dataclass of its options."""
        found: type = pkgutil.resolve_name(self.options)
        return found

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.partition("\n")[0]

    @property
    def example(self) -> str:
        """The first example of the help."""
        return self.help.partition("Examples:\n")[2].partition("\n")[0].strip()


@dataclass(frozen=True)
class CommandGroup:
    """The commands of one package."""

    title: str
    """The heading of the commands in the overview."""
    description: str
    commands: tuple[Command, ...]
    run: str
    """`module:function`, called with the command line and the program's name; returns the exit code."""


def installed() -> list[CommandGroup]:
    """Return the groups of installed distributions, and of the checkout that contains this package.

    The metadata of an editable install can be outdated, so a checkout's pyproject.toml replaces them. A group
    that cannot be imported is omitted with a warning.
    """
    own = _of_checkout()
    others = [
        point
        for point in entry_points(group=ENTRY_POINTS)
        if own is None or point.dist is None or point.dist.name != "moevae"
    ]
    groups = []
    for point in dict.fromkeys((*(own or ()), *others)):
        try:
            group = point.load()
            if not isinstance(group, CommandGroup):
                raise TypeError(f"expected a CommandGroup, got {type(group).__name__}")
        except Exception as error:  # a broken extension must not disable the other commands
            warnings.warn(f"commands of {point.value!r} are not available: {error}", stacklevel=2)
            continue
        groups.append(group)
    return groups


def _of_checkout() -> list[EntryPoint] | None:
    """Return the entry points in the pyproject.toml of the checkout; None outside of a checkout."""
    try:
        tree = tomllib.loads((Path(moevae.__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    project = tree.get("project", {})
    if project.get("name") != "moevae":
        return None
    declared = project.get("entry-points", {}).get(ENTRY_POINTS, {})
    return [EntryPoint(name, value, ENTRY_POINTS) for name, value in declared.items()]


def main(typed: Sequence[str], groups: Callable[[], list[CommandGroup]], prog: str, description: str) -> int:
    """Run a command line and return its exit code; without a command, print all commands.

    Args:
        typed: the command and its options.
        groups: finds the commands; called once, with its warnings printed as one line each.
        prog: the program's name in help and messages.
        description: a sentence for the overview.
    """
    return exit_code(lambda: _choose(list(typed), groups(), prog, description))


def _choose(typed: list[str], groups: list[CommandGroup], prog: str, description: str) -> int:
    for word in typed:
        register_secret(word.partition("=")[2] if word.startswith("--") else word)
    if not typed or typed[0] in ("-h", "--help"):
        print(overview(groups, prog, description))
        return 0
    if typed[0] == "--version":
        print(f"moevae {moevae.__version__}")
        return 0
    if typed[0].startswith("-"):
        raise ConfigError(f"{typed[0]}: expected a command first; {prog} --help lists them")
    owners = {command.name: group for group in reversed(groups) for command in group.commands}
    names = [command.name for group in groups for command in group.commands]
    group = owners[closest_name("command", typed[0], names)]
    code: int = pkgutil.resolve_name(group.run)(typed, prog)
    return code


def overview(groups: Sequence[CommandGroup], prog: str, description: str) -> str:
    """Return one line and one example for each command, under the titles of their groups.

    Args:
        groups: groups of commands.
        prog: name of the program.
        description: one line about the program.
    """
    parts = [f"usage: {prog} COMMAND [OPTIONS]", description]
    for group in groups:
        lines = [f"{group.title}:"]
        for command in group.commands:
            begin = f"  {command.name}".ljust(_COLUMN)
            lines.append(textwrap.fill(f"{begin}{command.summary}", _WIDTH, subsequent_indent=" " * _COLUMN))
            lines.append(f"{' ' * _COLUMN}{command.example}")
        parts.append("\n".join(lines))
    parts.append(
        f"{prog} COMMAND --help describes a command and its options.\n{prog} --version prints the version."
    )
    return "\n\n".join(parts)
