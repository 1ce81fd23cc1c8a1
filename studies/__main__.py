"""The command line of the studies: `python -m studies ablate | search | dashboard | list | report | ...`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from moevae.cli.parser import exit_code
from studies.cli import options as arguments
from studies.cli.ablate import ablate
from studies.cli.listing import folder_of, list_all
from studies.cli.options import (
    Ablate,
    Dashboard,
    List,
    Options,
    Pack,
    RebuildStorage,
    Report,
    Search,
    Unpack,
    Verify,
)
from studies.cli.report import report
from studies.utils.signals import Terminated, end_at_once, terminable


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 2 a mistake, 130 and 143 an interrupt, 141 a broken pipe."""
    typed = sys.argv[1:] if argv is None else argv
    return exit_code(lambda: _run(arguments.parse(typed), typed))


def _run(options: Options, typed: Sequence[str]) -> int:
    try:
        with terminable():
            match options:
                case Ablate():
                    return ablate(options, again=_command(typed))
                case Search():
                    from studies.cli.search import search

                    return search(options, again=_command(typed))
                case Dashboard():
                    from studies.cli.dashboard import choose, dashboard

                    named = options.study
                    chosen = folder_of(named, options.results) if named else choose(options.results)
                    return dashboard(options, chosen)
                case List():
                    return list_all(options)
                case Report():
                    return report(options)
                case Verify():
                    from studies.cli.verify import verify

                    return verify(options, folder_of(options.study, options.results))
                case RebuildStorage():
                    from studies.cli.rebuild_storage import rebuild_storage

                    return rebuild_storage(options, folder_of(options.study, options.results))
                case Pack():
                    from studies.cli.pack import pack

                    return pack(options, folder_of(options.study, options.results))
                case Unpack():
                    from studies.cli.pack import unpack

                    return unpack(options, folder_of(options.study, options.results))
    except KeyboardInterrupt:  # the command has told already what stays
        return 130
    except Terminated:
        return 143


def _command(typed: Sequence[str]) -> str:
    """Return what was typed, the way it was typed: with nox, the environment is nox's."""
    if "NOX_CURRENT_SESSION" in os.environ:
        session = "ablations" if typed[0] == "ablate" else typed[0]
        return f"nox -s {session} -- {shlex.join(typed[1:])}"
    return f"python -m studies {shlex.join(typed)}"


if __name__ == "__main__":
    code = main()
    end_at_once()
    sys.exit(code)
