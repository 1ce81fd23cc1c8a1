"""Manifest of the files that reports wrote; a new report replaces and removes only those."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moevae.errors import RecordError
from moevae.utils.content import parse_json
from moevae.utils.content import read as read_content
from moevae.utils.io import remove_temp_files, write_atomically

NAME = "report.manifest.json"
FORMAT = "moevae-report-1"
PAGE, TABLE, HTML = "report.md", "table.csv", "report.html"
FOLDERS = ("figures", "tables")
FILE = re.compile(r"(?:figures|tables)/[\w-]+\.(?:png|csv|svg|pdf|tex)|table\.csv")
"""Names of files that a page may show; files in other folders are excluded."""

_LINK = re.compile(rf"\]\(({FILE.pattern})\)")


@dataclass(frozen=True)
class Manifest:
    """The files that reports wrote into the folder of a study."""

    folder: Path
    files: Mapping[str, tuple[str, ...]]
    """SHA-256 digests by name; two if a report may have been interrupted while replacing a file."""

    def check(self, content: Mapping[str, bytes | None], *, overwrite: bool = False) -> None:
        """Check that writing these files replaces only files that reports wrote.

        Args:
            content: content by name; None if it is not yet known.
            overwrite: whether to allow replacing files that were edited or that no report wrote.

        Raises:
            RecordError: a file must not be replaced, or a path is a symbolic link.
        """
        for name in (NAME, *FOLDERS, *content):
            path = self.folder / name
            if path.is_symlink():
                raise RecordError(f"{path}: a symbolic link; expected a file or folder of the study itself")
        for name, new in content.items():
            path = self.folder / name
            if path.exists() and not overwrite and not self._is_ours(name, new):
                state = "changed since a report wrote it" if name in self.files else "not written by a report"
                raise RecordError(
                    f"{path}: {state}, not replaced: move the file, or replace it with "
                    f"`moevae report {self.folder.resolve().name} --overwrite`"
                )

    def replace(self, content: Mapping[str, bytes]) -> None:
        """Write files, the page last, and remove the figures and tables of earlier reports.

        Args:
            content: content by file name.
        """
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
        """Write files, the page last, and leave the others.

        Args:
            content: content by file name.
        """
        new = {name: (_digest(each),) for name, each in content.items()}
        self._write({**self.files, **{name: (*self.files.get(name, ()), *new[name]) for name in new}})
        for name in sorted(content, key=PAGE.__eq__):
            write_atomically(self.folder / name, content[name])
        self._write({**self.files, **new})

    def is_complete(self) -> bool:
        """Return whether there is a page, and each file has the content that a report wrote."""
        return PAGE in self.files and all(
            len(digests) == 1 and self._is_ours(name) for name, digests in self.files.items()
        )

    def digest(self) -> str:
        """Return a digest of the files, without the copy of the page as HTML."""
        files = {name: digests for name, digests in sorted(self.files.items()) if name != HTML}
        return _digest(json.dumps(files).encode())

    def _is_ours(self, name: str, new: bytes | None = None) -> bool:
        """Return whether a file has the content that a report wrote, or already the new content."""
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
    """Read the manifest of a study's folder.

    Without a manifest, as for pages of earlier versions, it lists the current files that the page links to.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the file is not a manifest.
    """
    path = folder / NAME
    if not path.exists():
        return Manifest(folder, _linked(folder))
    try:
        tree = parse_json(read_content(path))
        if tree["format"] != FORMAT:
            raise ValueError
        files = {str(name): tuple(map(str, digests)) for name, digests in tree["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RecordError(f"{path}: not a manifest of report files; move the file") from None
    return Manifest(folder, {name: digests for name, digests in files.items() if _is_name(name)})


def _is_name(name: str) -> bool:
    return bool(FILE.fullmatch(name)) or name in (PAGE, HTML)


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
    """Return the SHA-256 of a content, independent of line endings that git may convert."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
