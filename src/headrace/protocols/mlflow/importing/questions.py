"""Questions to a database whose tables may be of an older version: a column that is not there yet is empty."""

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.protocols.mlflow.importing.connections import Connection

WORKSPACE = "default"
"""The workspace of newer MLflow servers that is read: elsewhere the same names may mean other things."""

Among = tuple[str, Sequence[Any]]
"""A column, and the values that it has to have one of."""


class Questions:
    """Asks a database for columns by name."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._columns: dict[str, set[str]] = {}

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether there is such a table, with such a column."""
        if table not in self._columns:
            self._columns[table] = self.connection.columns(table)
        return column in self._columns[table] if column is not None else bool(self._columns[table])

    def rows(
        self, table: str, columns: Sequence[str], *, among: Among | None = None, order: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The rows of a table by column; none when there is no such table."""
        if not self.has(table):
            return
        asked = ", ".join(f'"{name}"' if self.has(table, name) else "NULL" for name in columns)
        where, parameters = self._where(table, among)
        ordered = f' ORDER BY "{order}"' if order else ""
        for row in self.connection.rows(f'SELECT {asked} FROM "{table}"{where}{ordered}', parameters):  # noqa: S608
            yield dict(zip(columns, row, strict=True))

    def maps(
        self, table: str, owner: str, key: str, value: str, *, among: Among | None = None
    ) -> dict[Any, dict[str, str]]:
        """Keys and values by what they belong to; a value that is not set is an empty text."""
        found: dict[Any, dict[str, str]] = {}
        for row in self.rows(table, (owner, key, value), among=among, order=key):
            found.setdefault(row[owner], {})[row[key]] = row[value] or ""
        return found

    def count(self, table: str) -> int:
        """How many rows a table has."""
        if not self.has(table):
            return 0
        return int(next(self.connection.rows(f'SELECT count(*) FROM "{table}"'))[0])  # noqa: S608 - our own names

    def count_of_other_workspaces(self, table: str) -> int:
        """How many rows of a table are of other workspaces than the one that is read."""
        query = f'SELECT count(*) FROM "{table}" WHERE workspace <> ?'  # noqa: S608 - our own names
        return int(next(self.connection.rows(query, (WORKSPACE,)))[0])

    def marks(self, found: Sequence[Any]) -> str:
        """The marks of that many parameters."""
        return ", ".join("?" * len(found))

    def _where(self, table: str, among: Among | None) -> tuple[str, list[Any]]:
        terms: list[str] = []
        parameters: list[Any] = []
        if self.has(table, "workspace"):
            terms.append("workspace = ?")
            parameters.append(WORKSPACE)
        if among is not None:
            column, allowed = among
            terms.append(f'"{column}" IN ({self.marks(allowed)})')
            parameters += allowed
        return (f" WHERE {' AND '.join(terms)}" if terms else ""), parameters
