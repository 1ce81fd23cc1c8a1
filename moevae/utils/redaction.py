"""Passwords are taken out of all that a command line writes, whoever made the message."""

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
"""What stands in place of what was typed, and of what a driver may make of it."""


def redact(text: str) -> str:
    """Return the text with `***` in place of passwords."""
    for secret, shown in _known.items():
        text = text.replace(secret, shown)
    return _NAMED.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


def learn(url: str) -> None:
    """Know a URL from here on, so that `redact` finds it whatever its password is made of."""
    shown = _shown(url)
    if shown != url:
        for form in (url, unquote(url), repr(url)[1:-1]):
            _known.update({shlex.quote(form): shlex.quote(shown), form: shown})


def without_secrets(message: str, url: str) -> str:
    """Return a message about a URL, such as a driver's, that may hold any part of its password."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    return redact(message)


@contextmanager
def redacting() -> Iterator[None]:
    """Take passwords out of what is written to standard output and standard error."""
    with redirect_stdout(_stream(sys.stdout)), redirect_stderr(_stream(sys.stderr)):
        yield


class _Redacted:
    """A stream that takes passwords out of what is written to it."""

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
    """Return a URL without its password, which may hold any character."""
    if found := _PLACE.fullmatch(url):
        scheme, login, rest = found.groups()
        user, colon, password = login.partition(":")
        url = f"{scheme}{user}{colon}{HIDDEN if password else ''}@{rest}"
    return _NAMED.sub(rf"\1{HIDDEN}", url)


def _secrets(url: str) -> set[str]:
    """Return the passwords of a URL, and the parts that a URL read in another way may break them into."""
    found = {match[2] for match in _NAMED.finditer(url)}
    if place := _PLACE.fullmatch(url):
        found.add(place[2].partition(":")[2])
    found |= {unquote(secret) for secret in found}
    parts = {part for secret in found for part in re.split(r"[@/:?#&]", secret)}
    return {secret for secret in found if secret} | {part for part in parts if len(part) > 1}
