"""SQL statements on the tables of a database, each compiled once.

Their values are numbers and texts, which need no conversion by SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Compiled,
    Connection,
    CursorResult,
    Engine,
    Table,
    bindparam,
    delete,
    insert,
    select,
)


class Statements:
    """Insertions, deletions and look-ups.

    Args:
        engine: the database.
        tables: its tables, by name.
    """

    def __init__(self, engine: Engine, tables: Mapping[str, Table]) -> None:
        self._engine, self._tables = engine, tables
        self._compiled: dict[tuple[str, ...], tuple[str, Sequence[str] | None]] = {}

    def insert(self, connection: Connection, table: str, content: Iterable[Mapping[str, Any]]) -> None:
        """Insert rows, which all have the same columns.

        Args:
            connection: an open connection.
            table: name of the table.
            content: the rows, by column.
        """
        if lines := list(content):
            columns = list(lines[0])
            self.run(
                connection,
                ("insert", table, *columns),
                lambda: insert(self._tables[table]).compile(self._engine, column_keys=columns),
                lines,
            )

    def delete(self, connection: Connection, table: str, **where: int | str) -> None:
        """Delete the rows of a table with the given values.

        Args:
            connection: an open connection.
            table: name of the table.
            **where: values by column.
        """
        columns = self._tables[table].c
        self.run(
            connection,
            ("delete", table, *where),
            lambda: (
                delete(self._tables[table])
                .where(*(columns[name] == bindparam(name) for name in where))
                .compile(self._engine)
            ),
            [where],
        )

    def scalar(self, connection: Connection, table: str, column: str, number: int) -> Any:
        """Return a value of a row of a trial.

        Args:
            connection: an open connection.
            table: name of the table.
            column: name of the column.
            number: ID of the trial.

        Returns:
            The value; None if there is no row.
        """
        columns = self._tables[table].c
        found = self.run(
            connection,
            ("select", table, column),
            lambda: (
                select(columns[column]).where(columns.trial_id == bindparam("trial_id")).compile(self._engine)
            ),
            [{"trial_id": number}],
        ).first()
        return None if found is None else found[0]

    def run(
        self,
        connection: Connection,
        key: tuple[str, ...],
        compiled: Callable[[], Compiled],
        lines: Sequence[Mapping[str, Any]],
    ) -> CursorResult[Any]:
        """Run a statement for each line.

        Args:
            connection: an open connection.
            key: name of the statement.
            compiled: compiles the statement if it is new.
            lines: values by the names of the statement's parameters.

        Returns:
            The result of the last line.
        """
        if key not in self._compiled:
            made = compiled()
            self._compiled[key] = str(made), getattr(made, "positiontup", None)
        statement, order = self._compiled[key]
        rows = [tuple(line[name] for name in order) if order else line for line in lines]
        return connection.exec_driver_sql(statement, rows if len(rows) > 1 else rows[0])
