"""Text and numbers as escaped Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from tabulate import tabulate

_CODE = re.compile(r"(`[\w.+-]+`)")
_BRACKET = re.compile(r"[\[\]]")
_SPECIAL = re.compile(r"([\\`*_<>|~$&]|(?<=\])[(\[:]|^#)")


def escape(text: str) -> str:
    """Escape a text so that Markdown shows it literally, also in a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def link(text: str, target: str) -> str:
    """Format a link whose text is shown literally, with any brackets.

    Args:
        text: the text of the link.
        target: path of a file, relative to the page.
    """
    words = _BRACKET.sub(r"\\\g<0>", escape(text))
    return f"[{words}]({quote(target)})"


def prose(text: str) -> str:
    """Escape a text except for words between backticks, which are shown as code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if _CODE.fullmatch(part) else _SPECIAL.sub(r"\\\1", part) for part in parts)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Format rows of text as a Markdown table, escaped, with columns of numbers aligned to the right.

    Args:
        rows: texts by column; a line break becomes `<br>`.
    """
    if not rows:
        return ""
    headers = list(rows[0])
    body = [["<br>".join(map(escape, row[name].split("\n"))) for name in headers] for row in rows]
    align = ["right" if all(_numeric(row[name]) for row in rows) else "left" for name in headers]
    return tabulate(
        body, [escape(name) for name in headers], tablefmt="pipe", disable_numparse=True, colalign=align
    )


def code(lines: Sequence[str], language: str = "sh") -> str:
    """Format lines as a code block, with fences longer than any run of backticks in it.

    Args:
        lines: the lines.
        language: language for syntax highlighting.
    """
    runs = re.findall("`+", "\n".join(lines))
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    return "\n".join([f"{fence}{language}", *lines, fence])


def interval(low: str, high: str) -> str:
    """Return `[low, high]`, or "" if there is no interval.

    Args:
        low: lower end as text; a dash if there is none.
        high: upper end as text; a dash if there is none.
    """
    return "" if "–" in (low, high) else f"[{low}, {high}]"


def p_value(p: float) -> str:
    """Return a p-value with three decimals, or `< 0.001`; a dash for NaN."""
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _numeric(text: str) -> bool:
    return re.fullmatch(r"[<\d\s.,±†\[\]–-]+", text) is not None


def encoded(text: str) -> bytes:
    """Encode a text as UTF-8; surrogates, as from file names, are escaped."""
    return text.encode(errors="backslashreplace")
