"""`python -m studies`: the commands of the studies only; `moevae` includes them, too."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from moevae.cli import groups
from moevae.cli.process import restore_default_interrupt
from studies.cli.commands import STUDIES


def main(argv: Sequence[str] | None = None, prog: str = "python -m studies") -> int:
    """Run a command; return its exit code: 2 an error, 130 or 143 an interrupt, 141 a broken pipe."""
    typed = sys.argv[1:] if argv is None else argv
    code = groups.main(typed, lambda: [STUDIES], prog, STUDIES.description)
    if argv is None:
        restore_default_interrupt()
    return code


if __name__ == "__main__":
    sys.exit(main())
