"""How the command lines read what was typed, and what they do about a mistake: one line, and an exit code."""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, subcommand

from moevae.config import nearest
from moevae.errors import ConfigError, MoevaeError


@dataclass(frozen=True)
class Command:
    """One command of a command line: what it may be given, and what its `--help` says first."""

    name: str
    options: type
    """A dataclass."""
    help: str
    """Its first line stands alone where all commands are listed."""


def parse(
    commands: Sequence[Command], arguments: Sequence[str] | None, *, prog: str, description: str
) -> Any:
    """Return what was typed, as an instance of one command's options.

    `--help` prints and exits; a mistake is told in one line, with exit code 2.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    told = io.StringIO()
    try:
        if typed and not typed[0].startswith("-"):
            nearest("command", typed[0], [each.name for each in commands])
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                _union(commands, chosen=typed[0] if typed else ""),
                args=typed,
                prog=prog,
                description=description,
                config=(FlagCreatePairsOff, OmitArgPrefixes),
            )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as stop:
        if stop.code:
            print(f"error: {one_line(told.getvalue())}", file=sys.stderr)
        raise


def exit_code(work: Callable[[], int]) -> int:
    """Do the work and return its exit code: 2 for a mistake, 130 for an interrupt, 141 for a reader gone."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        code = work()
        sys.stdout.flush()
        return code
    except MoevaeError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{f': {interrupt}' if interrupt.args else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python flushes standard output once more at its end, and would tell of the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def one_line(box: str) -> str:
    """Return the message of a box that tyro drew, and the option it thinks was meant."""
    text = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    rules = [number for number, line in enumerate(text) if line and not line.strip("─-")]
    begin = 1 if box.startswith("╭") or not rules else rules.pop(0) + 1  # a title, in ASCII with a rule below
    message = " ".join(text[begin : rules[0] if rules else None]).strip()
    wrong = re.match(r"Error parsing (\S+): .*?invalid literal for int\(\) with base 10: '(.*?)'", message)
    if wrong:
        return f"{wrong[1]} {wrong[2]!r}: a whole number is needed"
    hint = re.search(r"Perhaps you meant:\s+(--[\w-]+)", " ".join(text))
    if hint:
        message += f" (did you mean {hint[1]}?)"
    return f"{message[:1].lower()}{message[1:]}"


def _union(commands: Sequence[Command], chosen: str) -> Any:
    """Return the type that tyro reads: all of the chosen command's help, and one line of the others'."""
    texts = [each.help if each.name == chosen else each.help.splitlines()[0] for each in commands]
    pairs = zip(commands, texts, strict=True)
    kinds = [Annotated[each.options, subcommand(each.name, description=text)] for each, text in pairs]
    return functools.reduce(operator.or_, kinds)
