"""`leaderboard`: methods of all studies, with literature values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from tabulate import tabulate

from moevae.errors import RecordError
from studies.cli.folders import study_folders
from studies.cli.options import Leaderboard
from studies.report import leaderboard as board
from studies.report import leaderboard_entries, literature
from studies.report import leaderboard_page as page


def leaderboard(options: Leaderboard) -> int:
    """Print a table per data set and protocol, and the literature values of the data sets.

    Args:
        options: options of the command.

    Raises:
        RecordError: the folder has no study of the leaderboard.
    """
    study_folders(options.results)  # a file, or a study, is an error
    found = board.rows(options.results)
    published = literature.published().clustering
    if options.json:
        tree = {
            "measured": [asdict(row) for row in found],
            "literature": [row.model_dump() for row in published],
        }
        print(json.dumps(tree, indent=1))
        return 0
    if not found:
        names = ", ".join(dict.fromkeys(entry.study for entry in leaderboard_entries.entries().entry))
        raise RecordError(f"{options.results}: no study of the leaderboard here; it has {names}")
    for data, title in board.TITLES.items():
        for scored in board.SCORES:
            shown = [row for row in found if (row.data, row.scored) == (data, scored)]
            rows = [
                [
                    f"{row.method} {page.MARK}" if row.protocol else row.method,
                    f"{row.trained / 1000:.0f}k",
                    row.n,
                    page.interval(row.acc, row.acc_low, row.acc_high),
                    page.share(row.acc_lowest),
                    page.share(row.nmi),
                    "GPU" if row.minutes is None else page.minutes(row.minutes),
                ]
                for row in shown
            ]
            if rows:
                print(f"{title}, scored on {scored}")
                print(_table(rows, ["method", "images", "n", "ACC [95 %]", "low", "NMI", "min"], 24))
                print("\n".join(page.notes(shown)), end="\n\n" if page.notes(shown) else "\n")
        theirs = [
            [row.method, row.acc or f"(purity {row.purity})" * bool(row.purity), row.nmi, row.protocol]
            for row in published
            if row.data == data
        ]
        print(f"{title}, literature values, not reproduced")
        print(_table(theirs, ["method", "ACC", "NMI", "scored on"], 34), end="\n\n")
    print(
        "Images: number of training images. Minutes: of one core. All columns: --json, or README.md in the "
        "results folder."
    )
    return 0


def _table(rows: Sequence[Sequence[object]], headers: list[str], widest: int) -> str:
    """Return a table whose first column is wrapped."""
    widths = [widest, *([None] * (len(headers) - 1))]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, maxcolwidths=widths)
