"""Names that a person types, and what was meant where there is no such name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from moevae.errors import ConfigError
from moevae.utils.content import shortened

_LONGEST = 200
"""Characters that are compared with valid names: the time grows with their number."""


def is_text(name: str) -> bool:
    """Return whether a name has a place in UTF-8; bytes of a file's name may have none."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def closest_name(what: str, given: str, valid: Iterable[str]) -> str:
    """Return `given` if it is valid.

    Raises:
        ConfigError: it is not; the message names the nearest valid one, or all of them.
    """
    options = list(valid)
    if given in options:
        return given
    raise ConfigError(f"unknown {what} {shortened(repr(given))}: {hint(given, options)}")


def hint(given: str, options: Sequence[str]) -> str:
    """Return a question that names the nearest valid name, or all of them where none is near."""
    close = difflib.get_close_matches(given[:_LONGEST], options, n=1)
    return f"did you mean {close[0]}?" if close else f"valid: {', '.join(options)}"
