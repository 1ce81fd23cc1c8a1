"""Server of the dashboard: accepts local requests only and keeps annotations up to date."""

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
from studies.dashboard.annotate import write_annotations
from studies.dashboard.artifacts import PictureStore
from studies.dashboard.importance import as_in_report
from studies.records import packed

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Accepted host names; requests with any other may come from a foreign page (DNS rebinding)."""

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")
_NO_EMBEDDING = (("Content-Security-Policy", "frame-ancestors 'none'"), ("X-Frame-Options", "DENY"))
"""Headers that prevent other pages from embedding the dashboard (clickjacking)."""

EVERY = 5.0
"""Seconds between checks for new records."""
FIRST_WAIT = 5.0
"""Seconds to wait for the first annotations before serving."""

_log = logging.getLogger(__name__)


class PortError(MoevaeError):
    """The server cannot listen on the port."""


@contextmanager
def serving(storage: BaseStorage, folder: Path, port: int) -> Iterator[WSGIServer]:
    """Create a server of the dashboard on a local port; the caller starts it.

    A thread annotates the study first, and again whenever its records change.

    Args:
        storage: the Optuna storage of the study.
        folder: the folder of the study.
        port: the port on 127.0.0.1; 0 selects a free one.

    Raises:
        PortError: the port is in use or not permitted.
    """
    dashboard = optuna_dashboard.wsgi(storage, artifact_store=PictureStore(folder))
    app = _local(as_in_report(dashboard, storage, folder))
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PortError(f"--port {port}: {reason}; --port 0 selects a free one") from None
    ready, over = threading.Event(), threading.Event()
    annotator = threading.Thread(target=_keep_annotated, args=(storage, folder, ready, over), daemon=True)
    annotator.start()
    ready.wait(FIRST_WAIT)
    try:
        yield server
    finally:
        over.set()
        server.server_close()
        annotator.join(FIRST_WAIT)


def _keep_annotated(
    storage: BaseStorage, folder: Path, ready: threading.Event, over: threading.Event
) -> None:
    """Annotate the study now and whenever its records change."""
    seen: list[int] = []
    while True:
        now, begin = _state(folder), time.monotonic()
        if now != seen:
            try:
                write_annotations(storage, folder)
                seen = now
            except Exception as error:  # the driver may be rewriting the storage; the next check retries
                _log.warning("notes and pictures are outdated: %s", error)
        ready.set()
        # At most a tenth of one core: a driver may be training on this machine.
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
        """Log nothing: request lines would hide the address of the dashboard."""


def _local(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Reject requests from other hosts or origins, since the dashboard has no authentication."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        named = _HOST.fullmatch(host)
        if not named or named[1].lower() not in NAMES or origin not in (None, f"http://{host}"):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This dashboard accepts requests to 127.0.0.1 and localhost only.\n"]

        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *_NO_EMBEDDING], *more)

        return app(environ, begin)

    return answer
