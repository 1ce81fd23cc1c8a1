"""Run a command of the studies; its modules are imported when it is selected."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from studies.cli.folders import folder_of
from studies.cli.listing import list_all
from studies.cli.options import (
    Ablate,
    Consensus,
    Dashboard,
    Leaderboard,
    List,
    Migrate,
    Pack,
    RebuildStorage,
    Report,
    Search,
    Unpack,
    Verify,
    parse,
)
from studies.utils.signals import Terminated, terminable


def run(typed: Sequence[str], prog: str) -> int:
    """Run a command line; return its exit code.

    Args:
        typed: command line without the program.
        prog: name of the program.
    """
    options, again = parse(typed, prog), _command(typed, prog)
    try:
        with terminable():
            match options:
                case Ablate():
                    from studies.cli.ablate import ablate

                    return ablate(options, resume_command=again)
                case Search():
                    from studies.cli.search import search

                    return search(options, resume_command=again, ablate_command=_command(["ablate"], prog))
                case Dashboard():
                    from studies.cli.dashboard import choose, dashboard

                    named = options.study
                    chosen = folder_of(named, options.results) if named else choose(options.results)
                    return dashboard(options, chosen)
                case List():
                    return list_all(options)
                case Report():
                    from studies.cli.report import report

                    return report(options)
                case Leaderboard():
                    from studies.cli.leaderboard import leaderboard

                    return leaderboard(options)
                case Verify():
                    from studies.cli.verify import verify

                    return verify(options, folder_of(options.study, options.results))
                case Consensus():
                    from studies.cli.consensus import consensus

                    return consensus(options, folder_of(options.study, options.results))
                case RebuildStorage():
                    from studies.cli.rebuild_storage import rebuild_storage

                    return rebuild_storage(options, folder_of(options.study, options.results))
                case Pack():
                    from studies.cli.pack import pack

                    return pack(options, folder_of(options.study, options.results))
                case Unpack():
                    from studies.cli.pack import unpack

                    return unpack(options, folder_of(options.study, options.results))
                case Migrate():
                    from studies.cli.migrate import migrate

                    return migrate(options, folder_of(options.study, options.results))
    except Terminated:
        return 143


def _command(typed: Sequence[str], prog: str) -> str:
    """Return the command line as the user typed it, with nox if nox runs it."""
    if "NOX_CURRENT_SESSION" in os.environ:
        session = "ablations" if typed[0] == "ablate" else typed[0]
        return shlex.join(["nox", "-s", session, "--", *typed[1:]])
    return f"{prog} {shlex.join(typed)}"
