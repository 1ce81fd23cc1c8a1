"""The command `moevae`: the commands of the core and of other packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from moevae.cli import groups
from moevae.cli.commands import CORE
from moevae.cli.process import restore_default_interrupt


def main(argv: Sequence[str] | None = None, prog: str = "moevae") -> int:
    """Run a command.

    Args:
        argv: command line without the program; by default that of the process.
        prog: name of the program.

    Returns:
        The exit code: 0, 1 for a run that failed, 2 for an error, 130 for an interrupt.
    """
    typed = sys.argv[1:] if argv is None else argv
    code = groups.main(typed, lambda: [CORE, *groups.installed()], prog, CORE.description)
    if argv is None:
        restore_default_interrupt()
    return code


if __name__ == "__main__":
    sys.exit(main(prog="python -m moevae"))
