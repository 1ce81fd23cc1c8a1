"""Redaction of passwords in everything that a command line writes."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast
from urllib.parse import unquote

HIDDEN = "***"

_SCHEME = r"[A-Za-z][\w+.-]*:(?://)?"
_LOGIN = re.compile(rf"(?<![\w+.-])({_SCHEME}[^\s:/@'\"]*:)([^\s'\"]+)@")
"""`scheme://user:password@` and `scheme:user:password@`, up to the last @ of the word."""
_NAMED = re.compile(r"(?i)\b(\w*(?:password|passwd|pwd|secret|token)\s*=\s*)([^\s&;'\"]+)")
"""`?password=...` in a URL, `password=...` in a connection string."""
_PLACE = re.compile(rf"(?s)({_SCHEME})(.*)@(.*)")

_known: dict[str, str] = {}
"""Replacements of known URLs, as typed and as a driver may rewrite them."""


def redact(text: str) -> str:
    """Replace passwords in a text by `***`."""
    for secret, shown in _known.items():
        text = text.replace(secret, shown)
    return _NAMED.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


def register_secret(url: str) -> None:
    """Register a URL, so that `redact` finds it for any characters of its password."""
    shown = _shown(url)
    if shown != url:
        for form in (url, unquote(url), repr(url)[1:-1]):
            _known.update({shlex.quote(form): shlex.quote(shown), form: shown})


def without_secrets(message: str, url: str) -> str:
    """Redact a message about a URL.

    Args:
        message: a message, such as an error of a database driver, that may contain any part of the password.
        url: the URL.
    """
    for secret in sorted(_secrets(url), key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    return redact(message)


@contextmanager
def redacting() -> Iterator[None]:
    """Redact what is written to standard output and standard error within the context."""
    with redirect_stdout(_stream(sys.stdout)), redirect_stderr(_stream(sys.stderr)):
        yield


class _Redacted:
    """A stream that redacts what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _stream(stream: TextIO) -> TextIO:
    return cast(TextIO, stream if isinstance(stream, _Redacted) else _Redacted(stream))


def _shown(url: str) -> str:
    """Return a URL without its password, which may contain any character."""
    if found := _PLACE.fullmatch(url):
        scheme, login, rest = found.groups()
        user, colon, password = login.partition(":")
        url = f"{scheme}{user}{colon}{HIDDEN if password else ''}@{rest}"
    return _NAMED.sub(rf"\1{HIDDEN}", url)


def _secrets(url: str) -> set[str]:
    """Return the passwords of a URL, and their parts under other interpretations of the URL."""
    found = {match[2] for match in _NAMED.finditer(url)}
    if place := _PLACE.fullmatch(url):
        found.add(place[2].partition(":")[2])
    found |= {unquote(secret) for secret in found}
    parts = {part for secret in found for part in re.split(r"[@/:?#&]", secret)}
    return {secret for secret in found if secret} | {part for part in parts if len(part) > 1}
