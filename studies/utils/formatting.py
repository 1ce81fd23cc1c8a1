"""Formatting of settings and counts as short text, for tables, figures and the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

MAX_ITEMS = 4
"""Maximum length of a list that is shown in full."""


DIGITS = 6
"""Default number of significant digits of a fraction."""
ALL = 17
"""Number of significant digits that distinguishes any two floating-point numbers."""


def show(value: Any, digits: int = DIGITS, most: int = MAX_ITEMS) -> str:
    """Return a value as short text.

    Args:
        value: value of a setting.
        digits: number of significant digits of a fraction; integers keep all digits.
        most: maximum length of a list that is shown in full; a longer list shows its ends.
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{value:.0f}"
        return repr(value) if digits >= ALL else f"{value:.{digits}g}"
    if isinstance(value, list | tuple):
        if len(value) > most:
            return f"{show(value[0], digits)}…{show(value[-1], digits)}"
        between = "+" if any(isinstance(each, str) for each in value) else "-"
        return between.join(show(each, digits, most) for each in value) or "none"
    return str(value)


def exact(value: Any) -> str:
    """Return a value as text with all digits."""
    return show(value, ALL, sys.maxsize)


def distinct(values: Sequence[Any]) -> list[str]:
    """Return distinct short texts for distinct values.

    Args:
        values: the values, which may repeat.
    """
    apart = len(set(map(exact, values)))
    attempts = ([show(value, digits) for value in values] for digits in (*range(DIGITS, ALL, 2), ALL))
    return next((texts for texts in attempts if len(set(texts)) == apart), list(map(exact, values)))


def short(keys: Iterable[str]) -> dict[str, str]:
    """Return a short name for each dotted key: its last part, or the full key if that is ambiguous.

    Args:
        keys: dotted keys.
    """
    known = tuple(keys)
    last = [key.rpartition(".")[2] for key in known]
    return {
        key: key if word in ("kind", "name") or last.count(word) > 1 else word
        for key, word in zip(known, last, strict=True)
    }


def count(number: int, noun: str) -> str:
    """Return a count with its noun, such as "1 cell" or "3 cells".

    Args:
        number: the count.
        noun: the noun in the singular.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
