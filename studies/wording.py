"""Values of settings and counts as short text, the same in tables, figures and on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MOST = 4
"""Numbers of a list that are spelled out."""


def show(value: Any) -> str:
    """Return a value as short text: of a long list, its ends."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        if len(value) > MOST:
            return f"{show(value[0])}…{show(value[-1])}"
        return "-".join(map(show, value)) or "default"
    return str(value)


def short(keys: Iterable[str]) -> dict[str, str]:
    """Return what each dotted key is called: its last word, or all of it where that says too little."""
    known = tuple(keys)
    last = [key.rpartition(".")[2] for key in known]
    return {
        key: key if word in ("kind", "name") or last.count(word) > 1 else word
        for key, word in zip(known, last, strict=True)
    }


def count(number: int, thing: str) -> str:
    """Return "1 cell" or "3 cells"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
