"""Validation of names that a user types, with suggestions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from moevae.errors import ConfigError
from moevae.utils.content import shortened

_MAX_LENGTH = 200
"""Number of characters that are compared with valid names; it limits the time."""


def is_text(name: str) -> bool:
    """Return whether a name can be encoded as UTF-8; the name of a file may contain other bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def closest_name(what: str, given: str, valid: Iterable[str]) -> str:
    """Check that a name is valid, and return it.

    Args:
        what: kind of the name, for the message.
        given: the name.
        valid: all valid names.

    Raises:
        ConfigError: the name is invalid; the message contains the closest valid name, or all of them.
    """
    options = list(valid)
    if given in options:
        return given
    raise ConfigError(f"unknown {what} {shortened(repr(given))}: {hint(given, options)}")


def hint(given: str, options: Sequence[str]) -> str:
    """Return a suggestion for a message: the closest valid name, or all names if none is close.

    Args:
        given: the invalid name.
        options: the valid names.
    """
    close = difflib.get_close_matches(given[:_MAX_LENGTH], options, n=1)
    return f"did you mean {close[0]}?" if close else f"valid: {', '.join(options)}"
