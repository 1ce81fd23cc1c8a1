"""Parsing of the command line with tyro; an error is one line, with exit code 2."""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import re
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, subcommand

from moevae.cli.groups import Command
from moevae.config.overrides import keys
from moevae.errors import ConfigError
from moevae.utils.io import expand_home
from moevae.utils.redaction import register_secret
from moevae.utils.suggest import closest_name, is_text


def parse(commands: Sequence[Command], arguments: Sequence[str] | None, *, prog: str) -> Any:
    """Return the options of one command.

    Args:
        commands: commands to choose from.
        arguments: command line without the program; by default that of the process.
        prog: name of the program.

    Raises:
        SystemExit: `--help` was printed, or, with exit code 2, an error in one line.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    printed = io.StringIO()
    for word in typed:
        register_secret(word.partition("=")[2] if word.startswith("--") else word)
    try:
        if typed and not typed[0].startswith("-"):
            closest_name("command", typed[0], [each.name for each in commands])
        with contextlib.redirect_stderr(printed):
            options = tyro.cli(
                _union(commands, chosen=typed[0] if typed else ""),
                args=typed,
                prog=prog,
                config=(FlagCreatePairsOff, OmitArgPrefixes),
            )
        return _with_paths(options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as stop:
        if stop.code:
            chosen = next((each for each in commands if typed and each.name == typed[0]), None)
            print(f"error: {one_line(printed.getvalue(), chosen, prog)}", file=sys.stderr)
        raise


def _with_paths(options: Any) -> Any:
    """Return the options with `~` at the start of paths replaced by the home folder.

    Raises:
        ConfigError: there is no home folder, or a path is not UTF-8.
    """
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Path):
            changes[name] = _path(name, value)
        elif isinstance(value, tuple) and value and all(isinstance(each, Path) for each in value):
            changes[name] = tuple(_path(name, each) for each in value)
    return replace(options, **changes)


def _path(name: str, path: Path) -> Path:
    if not is_text(str(path)):  # required by safetensors, SQLite and JSON
        raise ConfigError(f"{name.replace('_', '-')} {str(path)!a}: not UTF-8; expected a UTF-8 path")
    return expand_home(path)


def one_line(box: str, chosen: Command | None, prog: str) -> str:
    """Return the error message in a box of tyro 1 as one line, with the expected value.

    Args:
        box: text that tyro printed.
        chosen: the command that was typed; None if it is unknown.
        prog: name of the program.
    """
    text = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    rules = [number for number, line in enumerate(text) if line and not line.strip("─-")]
    begin = 1 if box.startswith("╭") or not rules else rules.pop(0) + 1  # a title, in ASCII with a rule below
    message = " ".join(text[begin : rules[0] if rules else None]).strip()
    wrong = re.match(r"Error parsing (\S+): .*?invalid literal for int\(\) with base 10: '(.*?)'", message)
    if wrong:
        return f"{wrong[1]} {wrong[2]!r}: expected an integer"
    missing = re.match(r"Missing from (.*?): (\S+) (.*?)\.? \(required\)", message)
    if missing:
        command, name, meaning = missing.groups()
        return f"{command} needs {name}: {meaning[:1].lower()}{meaning[1:]}"
    # An option of another command is "misplaced", with remarks about the commands.
    misplaced = re.match(
        r"Unrecognized or misplaced options: (.*?)(?: {2,}|$| Arguments are applied)", message
    )
    if misplaced:
        words = re.sub(r" \(applied to [^)]*\)", "", misplaced[1]).split()
        message = f"Unrecognized options: {', '.join(words)}"
    unknown = re.match(r"Unrecognized options: (.*)", message)
    if unknown and chosen:
        meant = re.search(r"Perhaps you meant:\s+(--[\w-]+)", " ".join(text))
        word, *values = unknown[1].replace("=", ", ", 1).split(", ")
        # An option of the same name belongs to another command.
        other = meant[1] if meant and meant[1] != word else None
        hint = f"did you mean {other}?" if other else f"{prog} {chosen.name} --help lists the options"
        if not word.startswith("-"):
            return f"{word!r}: unexpected argument ({prog} {chosen.name} --help)"
        return f"unknown option {word}: {_as_setting(word, values, chosen) or hint}"
    return f"{message[:1].lower()}{message[1:]}"


def _as_setting(word: str, values: Sequence[str], command: Command) -> str | None:
    """Return the `--set` option for a setting that was given as an option; None without `--set`."""
    if not any(field.name == "set" for field in fields(command.load())):
        return None
    name = word.strip("-").replace("-", "_")
    found = [
        f"--set {key}={(*values, 'VALUE')[0]}"
        for key in keys()
        if "." in key and key.startswith(command.settings) and name in (key, key.rpartition(".")[2])
    ]
    return f"write {' or '.join(found)}" if found else None


def _union(commands: Sequence[Command], chosen: str) -> Any:
    """Return the type that tyro parses, with the full help of the chosen command only."""
    texts = [each.help if each.name == chosen else each.help.splitlines()[0] for each in commands]
    pairs = zip(commands, texts, strict=True)
    kinds = [Annotated[each.load(), subcommand(each.name, description=text)] for each, text in pairs]
    return functools.reduce(operator.or_, kinds)
