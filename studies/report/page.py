"""A page under construction: Markdown blocks and the files that they show."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd

from studies.report.markdown import escape, table

FOLDED = 100
"""Largest number of folded rows of a table; GitHub does not render pages of half a megabyte."""

LONGEST = 60
"""Largest number of characters of a text in a file name."""


@dataclass
class Page:
    """Blocks of Markdown, and PNG figures and CSV tables by their path in the study's folder."""

    blocks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    _depth: int = 2
    _prefix: str = ""
    _parts: set[str] = field(default_factory=set)

    def add(self, *blocks: str) -> None:
        """Append blocks; empty ones are skipped."""
        self.blocks.extend(block for block in blocks if block)

    def head(self, words: str) -> None:
        """Append a section heading."""
        self.add(f"{'#' * self._depth} {escape(words)}")

    @contextmanager
    def part(self, words: str) -> Iterator[None]:
        """Add a heading for everything added within the context; file names get it as a prefix."""
        self.head(words)
        name = _part(words)
        if name in self._parts:
            name = f"{name}-{_digest(words)}"
        self._parts.add(name)
        self._depth, self._prefix = self._depth + 1, f"{name}-"
        try:
            yield
        finally:
            self._depth, self._prefix = self._depth - 1, ""

    def show(self, name: str, content: bytes, words: str) -> None:
        """Append a PNG figure.

        Args:
            name: name of the file, without folder and ending.
            content: PNG bytes.
            words: alternative text.
        """
        path = self._place("figures", name, "png")
        self.files[path] = content
        self.add(f"![{escape(words)}]({path})")

    def keep(self, name: str, frame: pd.DataFrame, *, exact: bool = False) -> str:
        """Add a table as a CSV file (see `csv`) and return a Markdown link to it."""
        path = self._place("tables", name, "csv")
        self.files[path] = csv(frame, exact=exact)
        return f"[{path}]({path})"

    def _place(self, folder: str, name: str, kind: str) -> str:
        """Return an unused path for a file of this page."""
        path = f"{folder}/{self._prefix}{_part(name)}.{kind}"
        if path in self.files:
            path = f"{folder}/{self._prefix}{_part(name)}-{_digest(f'{self._prefix}/{name}')}.{kind}"
        return path

    def fold(self, words: str, *blocks: str) -> None:
        """Append blocks within a collapsed section."""
        self.add(f"<details>\n<summary>{html.escape(words)}</summary>", *blocks, "</details>")

    def rows(
        self, rows: Sequence[Mapping[str, str]], shown: int, link: str = "", total: int | None = None
    ) -> None:
        """Append a table: the first rows are shown, up to `FOLDED` more are collapsed, the link has all.

        Args:
            rows: rows of the table; `shown + FOLDED` of them suffice.
            shown: number of rows that are not collapsed.
            link: Markdown link to a file with all rows.
            total: number of all rows, if `rows` does not have all.
        """
        total = len(rows) if total is None else total
        self.add(table(rows[:shown]))
        if rest := rows[shown : shown + FOLDED]:
            self.fold(f"{'Next' if shown else 'First'} {len(rest)} of {total} rows", table(rest))
        if total > shown + FOLDED:
            self.add(f"All {total} rows: {link}.")

    def text(self) -> str:
        """Return the page as Markdown."""
        return "\n\n".join(self.blocks) + "\n"


def csv(frame: pd.DataFrame, *, exact: bool = False) -> bytes:
    """Format a table as CSV.

    Args:
        frame: the table.
        exact: whether to write all digits, as for values of records. Computed values have ten digits, since
            further ones differ between machines.
    """
    digits = None if exact else "%.10g"
    return encoded(frame.to_csv(index=False, lineterminator="\n", float_format=digits))


def encoded(text: str) -> bytes:
    """Encode a text as UTF-8; surrogates, as from file names, are escaped."""
    return text.encode(errors="backslashreplace")


def _part(words: str) -> str:
    """Return a text as part of a file name, shortened to `LONGEST` characters and a digest."""
    name = slug(words)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{_digest(words)}"


def _digest(words: str) -> str:
    return hashlib.sha256(encoded(words)).hexdigest()[:8]


def slug(words: str) -> str:
    """Return a text in lower case with hyphens, for file names and IDs."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "x"
