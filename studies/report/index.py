"""Index of studies, `results/README.md`, with the state of each."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tabulate import tabulate

from moevae.errors import RecordError
from moevae.utils.io import write_atomically
from studies.records import study_file
from studies.report import cache, leaderboard, leaderboard_entries, leaderboard_page
from studies.report.markdown import encoded, escape, link
from studies.utils.formatting import count

BEGIN, END = "<!-- index of studies: begin -->", "<!-- index of studies: end -->"
ABOUT = "`nox -s report` generates each page from the records in its folder. Do not edit these files by hand."
FORMER_ABOUT = (
    "Each page is made from the records beside it by `nox -s report`; nothing here is edited by hand."
)

_BLOCK = re.compile(rf"{BEGIN}\r?\n.*?{END}".encode(), re.DOTALL)
_BEFORE = re.compile(rf"# Studies\n\n{re.escape(FORMER_ABOUT)}\n\n(?:(?:\|[^\n]*\n)+|None yet.\n)".encode())
"""An index of an earlier version, which had no marks."""


def write_index(results: Path, *, asked: bool = False) -> Path | None:
    """Update the index of the studies in a folder, or create it if `asked`.

    The index has one row per study, ordered by name, below the leaderboard of the studies that it names.
    Other text of the file is kept. In a git repository, studies that git ignores are omitted; if git cannot
    tell which these are, the index stays as it is.

    Args:
        results: the folder of the studies.
        asked: whether to create an index if there is none.

    Returns:
        The path of the index; None if there is none.

    Raises:
        RecordError: an index is to be created, but another file has its name, or git cannot tell which
            studies are private.
    """
    target = results / "README.md"
    around = _around(target)
    if around is None and target.exists():
        if asked:
            raise RecordError(f"{target}: not an index of studies; move the file to create one")
        return None
    if around is None and not asked:
        return None
    before, after = around or (b"", b"\n")
    known = leaderboard_entries.entries()
    own = {
        f"{folder.name}/{study_file.NAME}": folder
        for folder in study_file.studies_in(results)
        if folder.resolve().parent == results.resolve()
    }
    names = _public(results, [*own, *(each.file for each in known.race)])
    if names is None:
        if asked:
            raise RecordError(
                f"{target}: git cannot tell which studies it ignores; check that `git status` works there"
            )
        return None
    public = [folder for name, folder in own.items() if name in names]
    rows = [_row(folder) for folder in public]
    headers = ["study", "data", "cells", "seeds", "runs, with baselines", "state"]
    shown = known.model_copy(
        update={
            "entry": tuple(each for each in known.entry if f"{each.study}/{study_file.NAME}" in names),
            "race": tuple(each for each in known.race if each.file in names),
        }
    )
    best = leaderboard.rows(results, shown, lenient=True)
    above = (
        f"# Leaderboard and studies\n\n{leaderboard_page.markdown(best)}\n\n## Studies"
        if best
        else "# Studies"
    )
    blocks = [
        f"{BEGIN}\n{above}",
        ABOUT,
        tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) if rows else "None yet.",
        END,
    ]
    content = before + encoded("\n\n".join(blocks)) + after
    if not target.exists() or target.read_bytes() != content:
        write_atomically(target, content)
    return target


def _around(target: Path) -> tuple[bytes, bytes] | None:
    """Return the text before and after the index in a file; None if the file has no index."""
    if target.is_symlink() or not target.is_file():
        return None
    content = target.read_bytes()
    if _BEFORE.fullmatch(content.replace(b"\r\n", b"\n")):
        return b"", b"\n"
    found = _BLOCK.search(content)
    return (content[: found.start()], content[found.end() :]) if found else None


def _public(results: Path, names: list[str]) -> list[str] | None:
    """Return the names of files in the results folder that git does not ignore.

    None if the folder is in a git repository and git cannot tell what it ignores.
    """
    index, *codes = (_check_ignore(results, name) for name in ("README.md", *names))
    if not {index, *codes} <= {_IGNORED, _TRACKABLE}:
        absolute = results.resolve()
        return None if any((path / ".git").exists() for path in (absolute, *absolute.parents)) else names
    if index == _IGNORED:
        return names  # an index that git does not keep
    return [name for name, code in zip(names, codes, strict=True) if code == _TRACKABLE]


_IGNORED, _TRACKABLE = 0, 1
"""Exit codes of `git check-ignore`."""


def _check_ignore(folder: Path, name: str) -> int | None:
    """Return the exit code of `git check-ignore` in a folder, whoever owns the repository."""
    command = ["git", "-c", "safe.directory=*", "check-ignore", "--quiet", name]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode
    except OSError:
        return None


def _row(folder: Path) -> list[str]:
    """Return the row of a study: as noted, if its inputs are the same."""
    inputs = cache.inputs(folder)
    row = cache.recall(folder, "row", inputs)
    if row is None:
        row = _made_row(folder)
        cache.note(folder, "row", inputs, row)
    return list(row)


def _made_row(folder: Path) -> list[str]:
    from studies.analysis.load import load_study  # takes a second to import

    try:
        study = load_study(folder)
    except RecordError as error:
        reason = str(error).removeprefix(f"{folder}/")
        return [escape(folder.name), "", "", "", "", f"cannot be read: {escape(reason)}"]
    made = [*study.runs, *(run for baseline in study.baselines for run in baseline.runs)]
    complete = sum(run.complete for run in made)
    failed = len(made) - complete
    lost = [f"{failed} failed"] if failed else []
    missing = len(study.missing) + len(study.missing_baselines)
    state = f"partial, {count(missing, 'run')} missing" if study.partial else "complete"
    return [
        link(study.title, f"{folder.name}/report.md"),
        escape(", ".join(map(_data, study.by_data()))),
        str(len(study.cells)),
        str(len(study.seeds)),
        str(complete),
        "; ".join([state, *lost]),
    ]


def _data(name: str) -> str:
    """Return the name of a data set without the folder of its file, which may be private."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if colon else name
