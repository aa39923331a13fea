"""Reading another server's database: one snapshot of it, never a write, SQLite and PostgreSQL alike."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from headrace.errors import InvalidInput, MissingExtra, Unavailable

ROWS_AT_ONCE = 10_000
WANTED = "Give an mlruns folder, a SQLite file such as mlflow.db, or an address."


class Connection(Protocol):
    """A database as it was when it was opened."""

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, whose parameters are marked `?`, in constant memory."""
        ...

    def columns(self, table: str) -> set[str]:
        """The columns of a table; none when there is no such table."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class SqliteConnection:
    """A SQLite file, opened so that it cannot be written."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInput("there is no such file or folder", where=str(path), fix=WANTED)
        try:
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"this is not a SQLite database: {error}", where=str(path), fix=WANTED) from error

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """See `Connection`."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(query, parameters)
            while found := cursor.fetchmany(ROWS_AT_ONCE):
                yield from found

    def columns(self, table: str) -> set[str]:
        """See `Connection`."""
        return {row[0] for row in self.rows("SELECT name FROM pragma_table_info(?)", (table,))}

    def close(self) -> None:
        """See `Connection`."""
        self._connection.close()


class PostgresConnection:
    """A PostgreSQL database, in one transaction that only reads."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtra(
                "a PostgreSQL database is read through psycopg", fix="Run `pip install 'headrace[postgres]'`."
            ) from error
        try:
            self._connection = psycopg.connect(url)
        except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
            raise Unavailable(
                f"the database cannot be reached: {str(error).splitlines()[0]}",
                where="postgresql",
                fix="Give the address as postgresql://user:password@host/database.",
            ) from error
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True
        self._asked = 0

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """See `Connection`."""
        self._asked += 1
        with self._connection.cursor(name=f"import_{self._asked}") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(query.replace("%", "%%").replace("?", "%s").encode(), parameters)
            yield from cursor

    def columns(self, table: str) -> set[str]:
        """See `Connection`."""
        query = "SELECT column_name FROM information_schema.columns WHERE table_name = ?"
        return {row[0] for row in self.rows(f"{query} AND table_schema = ANY (current_schemas(false))", (table,))}

    def close(self) -> None:
        """See `Connection`."""
        self._connection.close()


def connect(address: str) -> Connection:
    """Open `sqlite:///path`, a path, or `postgresql://…`, whatever driver the address names."""
    scheme, there, rest = address.partition("://")
    kind = scheme.partition("+")[0]
    if there and kind in {"postgresql", "postgres"}:
        return PostgresConnection(f"postgresql://{rest}")
    return SqliteConnection(sqlite_path(address))


def sqlite_path(address: str) -> Path:
    """The file of `sqlite:///relative`, `sqlite:////absolute` or a path."""
    return Path(address.partition(":///")[2] if address.startswith("sqlite") and ":///" in address else address)
