"""A page under construction: Markdown blocks in order, and the files that they show."""

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
"""Rows that a page holds beyond those it shows: GitHub does not render pages of half a megabyte."""

LONGEST = 60
"""Characters of words that become part of a file's name."""


@dataclass
class Page:
    """Blocks of Markdown, PNG figures and CSV tables, each file by its path in the study's folder."""

    blocks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    _depth: int = 2
    _prefix: str = ""
    _parts: set[str] = field(default_factory=set)

    def add(self, *blocks: str) -> None:
        """Append blocks; empty ones are left out."""
        self.blocks.extend(block for block in blocks if block)

    def head(self, words: str) -> None:
        """Append the heading of a section."""
        self.add(f"{'#' * self._depth} {escape(words)}")

    @contextmanager
    def part(self, words: str) -> Iterator[None]:
        """Put what is added within under a heading of its own; its files' names begin with it."""
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
        """Append a PNG figure with the words that stand for it where it cannot be seen."""
        path = self._place("figures", name, "png")
        self.files[path] = content
        self.add(f"![{escape(words)}]({path})")

    def keep(self, name: str, frame: pd.DataFrame, *, exact: bool = False) -> str:
        """Write a table as CSV, see `csv`, and return a link to it."""
        path = self._place("tables", name, "csv")
        self.files[path] = csv(frame, exact=exact)
        return f"[{path}]({path})"

    def _place(self, folder: str, name: str, kind: str) -> str:
        """Return a path that no other file of this page has."""
        path = f"{folder}/{self._prefix}{_part(name)}.{kind}"
        if path in self.files:
            path = f"{folder}/{self._prefix}{_part(name)}-{_digest(f'{self._prefix}/{name}')}.{kind}"
        return path

    def fold(self, words: str, *blocks: str) -> None:
        """Append blocks that open at a click."""
        self.add(f"<details>\n<summary>{html.escape(words)}</summary>", *blocks, "</details>")

    def rows(
        self, rows: Sequence[Mapping[str, str]], shown: int, link: str = "", total: int | None = None
    ) -> None:
        """Append a table: the first rows are shown, some more are folded, and all are behind the link.

        Of a long table, `shown + FOLDED` rows are enough where `total` says how many there are.
        """
        total = len(rows) if total is None else total
        self.add(table(rows[:shown]))
        if rest := rows[shown : shown + FOLDED]:
            self.fold(f"{'Next' if shown else 'First'} {len(rest)} of {total} rows", table(rest))
        if total > shown + FOLDED:
            self.add(f"All {total} rows: {link}.")

    def text(self) -> str:
        """Return the whole page."""
        return "\n\n".join(self.blocks) + "\n"


def csv(frame: pd.DataFrame, *, exact: bool = False) -> bytes:
    """Return a table as CSV: of what was computed ten digits, since more would tell machines apart.

    Args:
        frame: the table.
        exact: keep every digit, where the numbers are those of the records.
    """
    digits = None if exact else "%.10g"
    return encoded(frame.to_csv(index=False, lineterminator="\n", float_format=digits))


def encoded(text: str) -> bytes:
    """Return the text as UTF-8; what has no place there, as bytes of a file's name may, is escaped."""
    return text.encode(errors="backslashreplace")


def _part(words: str) -> str:
    """Return the words as part of a file's name that is short enough for any file system."""
    name = slug(words)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{_digest(words)}"


def _digest(words: str) -> str:
    return hashlib.sha256(encoded(words)).hexdigest()[:8]


def slug(words: str) -> str:
    """Return the words as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "x"
