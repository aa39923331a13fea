"""The DataEngine seam: who runs a query over tables, files and versions of the lake.

Queries are single SELECTs in DuckDB's dialect over named inputs; an engine of another dialect translates
them.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import duckdb
import pyarrow as pa

from headrace.errors import InvalidInput, SchemaMismatch, Unavailable
from headrace.kernel.lake import Snapshot


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file on this machine's disk."""

    path: Path
    format: Literal["parquet", "csv"]


Input: TypeAlias = "pa.Table | Snapshot | DataFile"


class DataEngine(Protocol):
    """Runs queries.

    Thread safety: every method may be called from any thread; queries do not see each other's inputs.
    Order: rows come in the order of the query's ORDER BY, and in no order without one.
    Ownership: inputs are only read; results belong to the caller.
    Errors: an input that cannot be read raises InvalidInput, a column or type that is not there
    SchemaMismatch, and too little memory or disk Unavailable.
    """

    def schema(self, table: Input) -> pa.Schema:
        """The columns and types of an input, read without its rows."""
        ...

    def query(self, sql: str, inputs: Mapping[str, Input]) -> pa.Table:
        """Run one SELECT in which the inputs are tables under their names."""
        ...

    def close(self) -> None:
        """Let go of memory and temporary files."""
        ...


class DuckDBEngine:
    """The embedded engine; see `DataEngine`.

    It loads no extension, so it never downloads anything, and it spills to disk at its memory limit.
    """

    def __init__(self, scratch: Path, *, memory_limit: str = "2GB", threads: int = 2) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "memory_limit": memory_limit,
                "threads": str(threads),
                "temp_directory": str(scratch),
                "python_enable_replacements": "false",  # a table is an input, never a variable of some caller
            },
        )

    def schema(self, table: Input) -> pa.Schema:
        """The columns and types of an input."""
        if isinstance(table, pa.Table | Snapshot):
            return table.schema
        return self.query("SELECT * FROM input LIMIT 0", {"input": table}).schema

    def query(self, sql: str, inputs: Mapping[str, Input]) -> pa.Table:
        """Run one SELECT over named inputs."""
        with closing(self._connection.cursor()) as cursor:
            try:
                cursor.execute("SET TimeZone = 'UTC'")  # a cursor is a session of its own
                for name, table in inputs.items():
                    _present(cursor, name, table)
                return cursor.sql(sql).to_arrow_table()
            except duckdb.OutOfMemoryException as error:
                raise Unavailable(
                    "the query needs more memory than it may use", fix="Give workers more memory, or query less."
                ) from error
            except (duckdb.BinderException, duckdb.CatalogException, duckdb.ConversionException) as error:
                raise SchemaMismatch("the query does not fit its tables", fix=_first_line(error)) from error
            except duckdb.Error as error:
                raise InvalidInput("the data cannot be read", fix=_first_line(error)) from error

    def close(self) -> None:
        """Let go of memory and temporary files."""
        self._connection.close()


def quoted(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _present(cursor: duckdb.DuckDBPyConnection, name: str, table: Input) -> None:
    if isinstance(table, pa.Table):
        cursor.register(name, table)
    elif isinstance(table, DataFile):
        reader = "read_parquet" if table.format == "parquet" else "read_csv"
        path = literal(_without_globs(table.path))
        cursor.execute(
            f"CREATE TEMP VIEW {quoted(name)} AS SELECT * FROM {reader}({path}, hive_partitioning=false)"  # noqa: S608 - quoted
        )
    elif not table.files:
        cursor.register(name, table.schema.empty_table())
    else:
        cursor.execute(f"CREATE TEMP VIEW {quoted(name)} AS {_select_snapshot(cursor, table)}")


def _select_snapshot(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> str:
    """The snapshot's files under the table's own schema: a file may lack columns, and none may add any."""
    files = ", ".join(literal(file) for file in snapshot.files)
    rows = f"read_parquet([{files}], union_by_name=true, hive_partitioning=false)"
    present = {row[0] for row in cursor.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}  # noqa: S608
    cursor.register("schema_of_snapshot", snapshot.schema.empty_table())
    types = {row[0]: row[1] for row in cursor.execute("DESCRIBE SELECT * FROM schema_of_snapshot").fetchall()}
    columns = [
        f"CAST({quoted(name) if name in present else 'NULL'} AS {types[name]}) AS {quoted(name)}"
        for name in snapshot.schema.names
    ]
    return f"SELECT {', '.join(columns)} FROM {rows}"  # noqa: S608 - names are quoted above


def _without_globs(path: Path) -> str:
    text = str(path)
    if any(sign in text for sign in "*?[]{}"):
        raise InvalidInput("the path of a data file cannot hold * ? [ ] { }", where=text)
    return text


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
