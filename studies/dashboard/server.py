"""The dashboard's server: this machine alone may ask it, and it keeps the study dressed while it runs."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.storages import BaseStorage

from moevae.errors import MoevaeError
from studies.dashboard.annotate import dress
from studies.dashboard.artifacts import Gallery
from studies.records import packed

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What a browser may call this machine; any other name is a page elsewhere that points here."""

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")
_ALONE = (("Content-Security-Policy", "frame-ancestors 'none'"), ("X-Frame-Options", "DENY"))
"""No other page may show this one within itself, and lead clicks to it."""

EVERY = 5.0
"""Seconds between looks for new records."""
MOMENT = 5.0
"""Seconds that a person would wait for a page."""

_log = logging.getLogger(__name__)


class PortError(MoevaeError):
    """A port that cannot be listened on."""


@contextmanager
def serving(storage: BaseStorage, folder: Path, port: int) -> Iterator[WSGIServer]:
    """Return a server of the dashboard, not yet serving, on that port of this machine; 0 takes a free one.

    The study is dressed first, then again whenever its records change; what takes longer than a moment
    goes on while the pages are looked at.

    Raises:
        PortError: the port is taken, or not to be had.
    """
    app = _local(optuna_dashboard.wsgi(storage, artifact_store=Gallery(folder)))
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PortError(f"--port {port}: {reason}; --port 0 takes a free one") from None
    ready, over = threading.Event(), threading.Event()
    dresser = threading.Thread(target=_keep_dressed, args=(storage, folder, ready, over), daemon=True)
    dresser.start()
    ready.wait(MOMENT)
    try:
        yield server
    finally:
        over.set()
        server.server_close()
        dresser.join(MOMENT)


def _keep_dressed(storage: BaseStorage, folder: Path, ready: threading.Event, over: threading.Event) -> None:
    """Dress the study, and again whenever its records have changed."""
    seen: list[int] = []
    while True:
        now, begin = _state(folder), time.monotonic()
        if now != seen:
            try:
                dress(storage, folder)
                seen = now
            except Exception as error:  # the driver may be writing all of it anew: the next look will do
                _log.warning("notes and pictures are not up to date: %s", error)
        ready.set()
        # A tenth of one core at most: a driver may be training beside it.
        if over.wait(max(EVERY, 9 * (time.monotonic() - begin))):
            return


def _state(folder: Path) -> list[int]:
    return [
        path.stat().st_mtime_ns if path.exists() else 0
        for path in (folder / "records", folder / packed.RECORDS, folder / "study.json")
    ]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each request would bury the address."""


def _local(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Answer only those who call this machine by its own name: the dashboard has no password."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        named = _HOST.fullmatch(host)
        if not named or named[1].lower() not in NAMES or origin not in (None, f"http://{host}"):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This dashboard answers to 127.0.0.1 and localhost only.\n"]

        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *_ALONE], *more)

        return app(environ, begin)

    return answer
