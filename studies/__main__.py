"""`python -m studies`: the commands of the studies only; `moevae` includes them, too."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from moevae.cli import groups
from moevae.cli.process import restore_default_interrupt
from studies.cli.commands import STUDIES


def main(argv: Sequence[str] | None = None, prog: str = "python -m studies") -> int:
    """Run a command.

    Args:
        argv: command line without the program; by default that of the process.
        prog: name of the program.

    Returns:
        The exit code: 0, 2 for an error, 130 or 143 for an interrupt, 141 for a broken pipe.
    """
    typed = sys.argv[1:] if argv is None else argv
    code = groups.main(typed, lambda: [STUDIES], prog, STUDIES.description)
    if argv is None:
        restore_default_interrupt()
    return code


if __name__ == "__main__":
    sys.exit(main())
