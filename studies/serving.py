"""The dashboard's server: this machine alone may ask it, and it keeps the study dressed while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.storages import BaseStorage

from moevae.errors import MoevaeError
from studies.dressing import dress
from studies.gallery import Gallery

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What a browser may call this machine; any other name is a page elsewhere that points here."""

EVERY = 5.0
"""Seconds between looks for new records."""

_log = logging.getLogger(__name__)


class PortError(MoevaeError):
    """A port that cannot be listened on."""


@contextmanager
def serving(storage: BaseStorage, folder: Path, port: int) -> Iterator[WSGIServer]:
    """Return a server of the dashboard, not yet serving, on that port of this machine; 0 takes a free one.

    Raises:
        PortError: the port is taken, or not to be had.
    """
    app = _local(optuna_dashboard.wsgi(storage, artifact_store=Gallery(folder)))
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PortError(f"--port {port}: {reason}; --port 0 takes a free one") from None
    over = threading.Event()
    dresser = threading.Thread(target=_keep_dressed, args=(storage, folder, over), daemon=True)
    dresser.start()
    try:
        yield server
    finally:
        over.set()
        server.server_close()
        dresser.join()


def _keep_dressed(storage: BaseStorage, folder: Path, over: threading.Event) -> None:
    """Dress the study whenever its records have changed."""
    seen = _state(folder)
    while not over.wait(EVERY):
        now = _state(folder)
        if now == seen:
            continue
        try:
            dress(storage, folder)
            seen = now
        except Exception as error:  # the driver may be writing all of it anew: the next look will do
            _log.debug("not dressed: %s", error)


def _state(folder: Path) -> list[int]:
    return [
        path.stat().st_mtime_ns if path.exists() else 0
        for path in (folder / "records", folder / "study.json")
    ]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each request would bury the address."""


def _local(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Answer only those who call this machine by its own name: the dashboard has no password."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        name = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if name not in NAMES:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This dashboard answers to 127.0.0.1 and localhost only.\n"]
        return app(environ, start_response)

    return answer
