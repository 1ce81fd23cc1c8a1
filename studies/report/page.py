"""A page under construction: Markdown blocks and the files that they show."""

from __future__ import annotations

import csv as csv_files
import hashlib
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from moevae.visualization.style import Drawn, stacked
from studies.analysis.study import DATA
from studies.report.markdown import encoded, escape, table
from studies.utils.formatting import count

FOLDED = 100
"""Largest number of folded rows of a table; GitHub does not render pages of half a megabyte."""

MAX_NAME_LENGTH = 60
"""Largest number of characters of a text in a file name."""


@dataclass
class Page:
    """Blocks of Markdown, and figures and tables by their path in the study's folder."""

    blocks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    _depth: int = 2
    _part: str = ""
    _prefixes: dict[str, str] = field(default_factory=dict)
    _frames: dict[str, list[pd.DataFrame]] = field(default_factory=dict)

    def add(self, *blocks: str) -> None:
        """Append blocks; empty ones are skipped."""
        self.blocks.extend(block for block in blocks if block)

    def head(self, words: str) -> None:
        """Append a section heading."""
        self.add(f"{'#' * self._depth} {escape(words)}")

    @contextmanager
    def part(self, words: str) -> Iterator[None]:
        """Add a heading for everything added within the context, the part of the page about a data set.

        Names of figures get the name of the part as a prefix, and tables get it as a column.

        Args:
            words: heading of the part.
        """
        self.head(words)
        prefix = _file_name(words)
        if prefix in self._prefixes.values():
            prefix = f"{prefix}-{_digest(words)}"
        self._prefixes[words] = prefix
        self._depth, self._part = self._depth + 1, words
        try:
            yield
        finally:
            self._depth, self._part = self._depth - 1, ""

    def show(self, name: str, panels: Mapping[str, Drawn], caption: str = "") -> None:
        """Append a figure: panels from top to bottom in one PNG file, and each in the vector formats it has.

        Args:
            name: name of the file, without folder and ending.
            panels: figures by alternative text.
            caption: what the figure shows, its bands above all.
        """
        prefix = f"{self._prefixes[self._part]}-" if self._part else ""
        path = f"figures/{prefix}{_file_name(name)}.png"
        if path in self.files:
            path = f"figures/{prefix}{_file_name(name)}-{_digest(f'{prefix}/{name}')}.png"
        self.files[path] = stacked(list(panels.values())).png
        for number, panel in enumerate(panels.values(), start=1):
            end = f"-{number}" if len(panels) > 1 else ""
            for name, content in panel.others.items():
                self.files[f"{path.removesuffix('.png')}{end}.{name}"] = content
        self.add(f"![{escape('. '.join(panels))}]({path})")
        self.add(f"*{escape(caption)}*" if caption else "")

    def keep(self, name: str, frame: pd.DataFrame, *, exact: bool = False) -> str:
        """Add a table as a CSV file.

        Args:
            name: name of the table. Tables of one name are one file; in the parts of a page, the name of the
                part is the first column.
            frame: the table.
            exact: whether to write all digits, see `csv`.

        Returns:
            A Markdown link to the file.
        """
        path = f"tables/{_file_name(name)}.csv"
        frames = self._frames.setdefault(path, [])
        frames.append(
            pd.concat([pd.Series(self._part, frame.index, name=DATA), frame], axis=1) if self._part else frame
        )
        self.files[path] = csv(pd.concat(frames, ignore_index=True), exact=exact)
        return f"[{path}]({path})"

    def latex(self, name: str, content: str) -> None:
        """Add a table in LaTeX, which the page does not show.

        Args:
            name: name of the table.
            content: the table in LaTeX.
        """
        prefix = f"{self._prefixes[self._part]}-" if self._part else ""
        self.files[f"tables/{prefix}{_file_name(name)}.tex"] = encoded(content)

    def fold(self, words: str, *blocks: str) -> None:
        """Append blocks within a collapsed section.

        Args:
            words: the summary that is always shown.
            *blocks: blocks in Markdown.
        """
        self.add(f"<details>\n<summary>{html.escape(words)}</summary>", *blocks, "</details>")

    def rows(
        self,
        rows: Sequence[Mapping[str, str]],
        shown: int,
        link: str = "",
        total: int | None = None,
        file: str = "",
    ) -> None:
        """Append a table: the first rows are shown, up to `FOLDED` more are collapsed, a file has all.

        Args:
            rows: rows of the table; `shown + FOLDED` of them suffice if there is a link.
            shown: number of rows that are not collapsed.
            link: Markdown link to a file with all rows.
            total: number of all rows, if `rows` does not have all.
            file: name of a CSV file for `keep`, which is written only if the page does not show all rows.
        """
        total = len(rows) if total is None else total
        self.add(table(rows[:shown]))
        if rest := rows[shown : shown + FOLDED]:
            part = f"{'Next' if shown else 'First'} {len(rest)} of {total} rows"
            self.fold(count(total, "row") if len(rest) == total else part, table(rest))
        if total > shown + FOLDED:
            link = link or self.keep(file, pd.DataFrame(rows))
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
    content = io.StringIO()
    rows = csv_files.writer(content, lineterminator="\n")
    rows.writerow(frame.columns)
    # Formatting by columns takes a third of the time of `DataFrame.to_csv`.
    rows.writerows(zip(*(_texts(frame[name], exact) for name in frame), strict=True))
    return encoded(content.getvalue())


def _texts(column: pd.Series, exact: bool) -> list[Any]:
    """Return the values of a column with fractions as text; missing values are empty."""
    values = column.tolist()
    if column.dtype == float:
        # One call formats all values, which takes half of the time of a call for each.
        joined = repr(values)[1:-1].replace(",", "") if exact else "%.10g " * len(values) % tuple(values)
        return ["" if text == "nan" else text for text in joined.split()]
    text = repr if exact else "%.10g".__mod__
    return [
        "" if value is None or value != value else text(value) if isinstance(value, float) else value
        for value in values
    ]


def _file_name(words: str) -> str:
    """Return a text as part of a file name, shortened to `MAX_NAME_LENGTH` characters and a digest."""
    name = slug(words)
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}-{_digest(words)}"


def _digest(words: str) -> str:
    return hashlib.sha256(encoded(words)).hexdigest()[:8]


def slug(words: str) -> str:
    """Return a text in lower case with hyphens, for file names and IDs."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "x"
