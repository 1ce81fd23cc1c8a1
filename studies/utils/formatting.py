"""Values of settings and counts as short text, the same in tables, figures and on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

MOST_ITEMS = 4
"""Numbers of a list that are spelled out."""


DIGITS = 6
"""Significant digits of a fraction, where they are enough."""
ALL = 17
"""Significant digits that tell any two floating-point numbers apart."""


def show(value: Any, digits: int = DIGITS, most: int = MOST_ITEMS) -> str:
    """Return a value as short text.

    Args:
        value: of a setting.
        digits: significant digits of a fraction; whole numbers keep all.
        most: numbers of a list that are spelled out; of a longer one, its ends are shown.
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
        return "-".join(show(each, digits, most) for each in value) or "default"
    return str(value)


def exact(value: Any) -> str:
    """Return a value as text that keeps every digit."""
    return show(value, ALL, sys.maxsize)


def distinct(values: Sequence[Any]) -> list[str]:
    """Return different values as short texts that differ."""
    apart = len(set(map(exact, values)))
    attempts = ([show(value, digits) for value in values] for digits in (*range(DIGITS, ALL, 2), ALL))
    return next((texts for texts in attempts if len(set(texts)) == apart), list(map(exact, values)))


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
