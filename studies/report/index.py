"""`results/README.md`: what studies there are, and how far each is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import quote

from tabulate import tabulate

from moevae.errors import RecordError
from moevae.utils.io import write_atomically
from studies.analysis.load import load_study
from studies.records import study_file
from studies.report.markdown import escape
from studies.report.page import encoded
from studies.utils.formatting import count

BEGIN, END = "<!-- index of studies: begin -->", "<!-- index of studies: end -->"
ABOUT = "Each page is made from the records beside it by `nox -s report`; nothing here is edited by hand."

_BLOCK = re.compile(rf"{BEGIN}\n.*?{END}", re.DOTALL)
_BEFORE = re.compile(
    rf"# Studies\n\n{re.escape(ABOUT)}\n\n(?:\|[^\n]*\n)+|# Studies\n\n{re.escape(ABOUT)}\n\nNone yet.\n"
)
"""All of an index that was written before it had marks."""


def write_index(results: Path, *, asked: bool = False) -> Path | None:
    """Write the index of the studies in a folder, a row each by name, where there was one or it is asked for.

    What else stands in the file stays. In a git repository, studies that git ignores are left out.

    Args:
        results: the folder of the studies.
        asked: write an index where there was none.

    Returns:
        The path of the index; None where there was none and none was asked for.

    Raises:
        RecordError: an index is asked for, and there is another file in its place.
    """
    target = results / "README.md"
    around = _around(target)
    if around is None and target.exists():
        if asked:
            raise RecordError(f"{target}: not an index of studies, so it is kept: move it away")
        return None
    if around is None and not asked:
        return None
    before, after = around or ("", "\n")
    folders = study_file.studies_in(results)
    rows = [_row(folder) for folder in _public(results, folders)]
    headers = ["study", "data", "cells", "seeds", "runs", "state"]
    blocks = [
        f"{BEGIN}\n# Studies",
        ABOUT,
        tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) if rows else "None yet.",
        END,
    ]
    content = encoded(before + "\n\n".join(blocks) + after)
    if not target.exists() or target.read_bytes() != content:
        write_atomically(target, content)
    return target


def _around(target: Path) -> tuple[str, str] | None:
    """Return what stands before and after the index in a file; None where there is no index in it."""
    if target.is_symlink() or not target.is_file():
        return None
    text = target.read_bytes().decode(errors="surrogateescape").replace("\r\n", "\n")
    if _BEFORE.fullmatch(text):
        return "", "\n"
    found = _BLOCK.search(text)
    return (text[: found.start()], text[found.end() :]) if found else None


def _public(results: Path, folders: list[Path]) -> list[Path]:
    """Return the folders that may be named: of the results folder itself, and not ignored by git."""
    own = [folder for folder in folders if folder.resolve().parent == results.resolve()]
    if _git(results, "check-ignore", "--quiet", "README.md") == 0:
        return own  # an index that git does not keep
    return [
        folder for folder in own if _git(results, "check-ignore", "--quiet", f"{folder.name}/study.json") != 0
    ]


def _git(folder: Path, *arguments: str) -> int | None:
    """Return git's exit code in a folder, which is 0 where `check-ignore` names an ignored file."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False).returncode
    except OSError:
        return None


def _row(folder: Path) -> list[str]:
    try:
        study = load_study(folder)
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
        escape(", ".join(map(_data, study.by_data()))),
        str(len(study.cells)),
        str(len(study.seeds)),
        str(complete),
        "; ".join([state, *lost]),
    ]


def _data(name: str) -> str:
    """Return the name of a data set without the folder of its file, which is the user's own matter."""
    return f"npz:{Path(name).name}" if name.startswith("npz:") else name
