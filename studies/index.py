"""`results/README.md`: what studies there are, and how far each is."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from tabulate import tabulate

from moevae.errors import RecordError
from studies import records
from studies.loading import load
from studies.markup import escape
from studies.wording import count


def write_index(results: Path) -> Path:
    """Write the index of the studies in a folder, one row each by name; return its path."""
    rows = [_row(path.parent) for path in sorted(results.glob("*/study.json"))]
    headers = ["study", "data", "cells", "seeds", "runs", "state"]
    blocks = [
        "# Studies",
        "Each page is made from the records beside it by `nox -s report`; nothing here is edited by hand.",
        tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) if rows else "None yet.",
    ]
    target = results / "README.md"
    records.write_atomically(target, ("\n\n".join(blocks) + "\n").encode())
    return target


def _row(folder: Path) -> list[str]:
    try:
        study = load(folder)
    except RecordError as error:
        reason = str(error).removeprefix(f"{folder}/")
        return [escape(folder.name), "", "", "", "", f"cannot be read: {escape(reason)}"]
    made = [*study.runs, *(run for peer in study.peers for run in peer.runs)]
    complete = sum(run.complete for run in made)
    failed = len(made) - complete
    lost = [f"{failed} failed"] if failed else []
    missing = len(study.missing) + len(study.missing_peers)
    state = f"partial, {count(missing, 'run')} missing" if study.partial else "complete"
    return [
        f"[{escape(study.title)}]({quote(folder.name)}/report.md)",
        escape(", ".join(study.by_data())),
        str(len(study.cells)),
        str(len(study.seeds)),
        str(complete),
        "; ".join([state, *lost]),
    ]
