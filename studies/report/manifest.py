"""Which files of a study's folder reports wrote: the next report replaces and removes those alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moevae.errors import RecordError
from moevae.utils.io import remove_temp_files, write_atomically

NAME = "report.manifest.json"
FORMAT = "moevae-report-1"
PAGE, TABLE = "report.md", "table.csv"
FOLDERS = ("figures", "tables")
FILE = re.compile(r"(?:figures|tables)/[\w-]+\.(?:png|csv)|table\.csv")
"""What a page may show of its study: nothing in other folders."""

_LINK = re.compile(rf"\]\(({FILE.pattern})\)")


@dataclass(frozen=True)
class Manifest:
    """The files that reports wrote into a study's folder."""

    folder: Path
    files: Mapping[str, tuple[str, ...]]
    """SHA-256 by name; two where a report may have been interrupted between an old and a new content."""

    def check(self, content: Mapping[str, bytes | None], *, overwrite: bool = False) -> None:
        """Check that writing these files replaces nothing but what reports wrote.

        Args:
            content: by name; None where it is not known yet.
            overwrite: allow to replace files that were changed, or that somebody else wrote.

        Raises:
            RecordError: a file is in the way, or is behind a link.
        """
        for name in (NAME, *FOLDERS, *content):
            path = self.folder / name
            if path.is_symlink():
                raise RecordError(f"{path}: a link; expected a file or folder of the study itself")
        for name, new in content.items():
            path = self.folder / name
            if path.exists() and not overwrite and not self._is_ours(name, new):
                state = "changed since a report wrote it" if name in self.files else "not written by a report"
                raise RecordError(
                    f"{path}: {state}, so it is kept: move it away, or replace it with "
                    f"`report {self.folder.resolve().name} --overwrite`"
                )

    def replace(self, content: Mapping[str, bytes]) -> None:
        """Write these files, the page last, and remove the figures and tables of earlier reports."""
        for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
            remove_temp_files(folder)
        self.add(content)
        stale = [name for name in self.files if name not in content and name.startswith(FOLDERS)]
        for name in stale:
            if self._is_ours(name):
                (self.folder / name).unlink()
        kept = {name: digests for name, digests in self.files.items() if name not in stale}
        self._write({**kept, **{name: (_digest(each),) for name, each in content.items()}})

    def add(self, content: Mapping[str, bytes]) -> None:
        """Write these files, the page last, and leave the others."""
        new = {name: (_digest(each),) for name, each in content.items()}
        self._write({**self.files, **{name: (*self.files.get(name, ()), *new[name]) for name in new}})
        for name in sorted(content, key=PAGE.__eq__):
            write_atomically(self.folder / name, content[name])
        self._write({**self.files, **new})

    def _is_ours(self, name: str, new: bytes | None = None) -> bool:
        """Return whether a file is as a report wrote it, or already as it is to be."""
        path = self.folder / name
        if path.is_symlink() or not path.is_file():
            return False
        digest = _digest(path.read_bytes())
        return digest in self.files.get(name, ()) or (new is not None and digest == _digest(new))

    def _write(self, files: Mapping[str, tuple[str, ...]]) -> None:
        tree = {"format": FORMAT, "files": {name: sorted(set(files[name])) for name in sorted(files)}}
        content = f"{json.dumps(tree, indent=1)}\n".encode()
        path = self.folder / NAME
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)


def read(folder: Path) -> Manifest:
    """Return the manifest of a study's folder.

    Where there is none, as beside pages of earlier versions, it lists what the page links to, as it is now.

    Raises:
        RecordError: the file in its place is no manifest.
    """
    path = folder / NAME
    if not path.exists():
        return Manifest(folder, _linked(folder))
    try:
        tree = json.loads(path.read_bytes())
        if tree["format"] != FORMAT:
            raise ValueError
        files = {str(name): tuple(map(str, digests)) for name, digests in tree["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RecordError(f"{path}: not the list of a report's files: move it away") from None
    return Manifest(folder, {name: digests for name, digests in files.items() if _is_name(name)})


def _is_name(name: str) -> bool:
    return bool(FILE.fullmatch(name)) or name in (PAGE, "report.html")


def _linked(folder: Path) -> dict[str, tuple[str, ...]]:
    page = folder / PAGE
    if page.is_symlink() or not page.is_file():
        return {}
    names = set(_LINK.findall(page.read_text(encoding="utf-8", errors="replace")))
    if TABLE not in names:  # every page that a report wrote links to it
        return {}
    there = [name for name in (PAGE, *sorted(names)) if (folder / name).is_file()]
    return {name: (_digest((folder / name).read_bytes()),) for name in there}


def _digest(content: bytes) -> str:
    """Return the SHA-256 of a content, the same after git changed the ends of its lines."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
