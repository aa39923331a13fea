"""Tables of many rows, kept as Delta on Parquet, so that what a model was trained on can be read again.

Work-side only: workers and gateways read and append here, control knows tables by name and version. A
version is a list of immutable files. Rows are appended, and removed only where a retention or an erasure says
so. An append belongs to an operation and happens once however often it is tried: Delta's own application
transactions remember what was taken, in the commit of the rows.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import stamina
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from headrace.errors import Conflict, InvalidInput, NotFound, SchemaMismatch, Unavailable

T = TypeVar("T")

ATTEMPTS = 50
"""Tries of one append against other writers; each lost race means that another append went through."""

SAMPLE_ROWS = 1_000
"""Rows that are looked at to see whether a column repeats itself; smaller tables are written as they are."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_UNUSABLE = re.compile(r"[%\[\]{}*?^\"<>|\\\x00-\x1f]")
_APPEND_ONLY = "delta.appendOnly"
_INSTANT = pa.timestamp("us", tz="UTC")
_CONFIGURATION = {
    # the log is what time travel reads; old versions go when nothing pins them, never by age
    "delta.enableExpiredLogCleanup": "false",
    _APPEND_ONLY: "true",
}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One version of a table: immutable, so that reading it twice gives the same rows.

    Attributes:
        table: the table's name.
        version: Delta's version number.
        files: Parquet files, by absolute path, in the table's order; a file may lack columns that came later.
        schema: the columns and types of this version.
        rows: how many rows the files hold.
    """

    table: str
    version: int
    files: tuple[str, ...]
    schema: pa.Schema
    rows: int


class Lake:
    """The tables below one folder.

    Thread safety: every method may be called from any thread and any process at once.
    Order: `append` returns after its rows are in a committed version; every later `snapshot` has them.
    Errors: a table or version that is not there raises NotFound, rows that do not fit SchemaMismatch.
    """

    def __init__(self, directory: Path) -> None:
        path = directory.absolute()
        if _UNUSABLE.search(str(path)):
            raise InvalidInput(
                "the lake cannot lie in a folder with such characters in its path",
                where=str(path),
                fix='Choose a home without % [ ] { } * ? ^ " < > | and \\ in its path.',
            )
        self._directory = path

    def append(self, table: str, data: pa.Table, *, operation: str, sequence: int = 1) -> int:
        """Append rows, once for each operation and sequence.

        Args:
            table: name, with slashes for folders, such as `sources/purchases`; made when it is not there.
            data: rows of any number. New columns are added to the table, missing ones are null; timestamps
                become
                microseconds in UTC.
            operation: who appends, such as a job's id. One name that is used again and again keeps the
                table's
                log small.
            sequence: number of the append within its operation; what is not above the last one taken is
                skipped.

        Returns:
            A version that holds the rows.

        Raises:
            SchemaMismatch: a column has a type that the table's column cannot take, or that Delta has not.
            Unavailable: other writers won every race.
        """
        prepared = _storable(data, table)
        retrying = stamina.RetryingCaller(attempts=ATTEMPTS, timeout=120.0, wait_initial=0.01, wait_max=0.5)
        try:
            return retrying(CommitFailedError, self._append, table, prepared, operation, sequence)
        except CommitFailedError as error:
            raise Unavailable("other writers kept changing the table", where=table, fix="Try again.") from error

    def sequence(self, table: str, operation: str) -> int | None:
        """The last sequence that `append` took for an operation; None when it took none."""
        if not self.exists(table):
            return None
        taken = self._open(table).transaction_version(operation)
        return None if taken is None else int(taken)

    def exists(self, table: str) -> bool:
        """Whether the table has been made."""
        return bool(DeltaTable.is_deltatable(str(self._path(table))))

    def tables(self, folder: str) -> list[str]:
        """Names of the tables below a folder, without its name, in their order."""
        below = self._path(folder)
        found = (log.parent.relative_to(below) for log in below.glob("**/_delta_log") if log.parent != below)
        return sorted("/".join(_plain(segment) for segment in path.parts) for path in found)

    def snapshot(self, table: str, version: int | None = None) -> Snapshot:
        """A version of the table, the newest one by default.

        Raises:
            NotFound: no such table or version.
            InvalidInput: another program wrote the table in a way that cannot be read file by file.
        """
        delta = self._open(table, version)
        return self._snapshot(table, delta, self._files(table, delta))

    def added(self, table: str, after: int | None, until: int) -> Snapshot:
        """What version `until` has and version `after` has not; all of it when `after` is None.

        Raises:
            NotFound: no such table or version.
            Conflict: the table was rewritten in between, so that the difference cannot be told.
        """
        delta = self._open(table, until)
        files = self._files(table, delta)
        known = set() if after is None else self._files(table, self._open(table, after)).keys()
        if not known <= files.keys():
            raise Conflict(
                f"the table was rewritten between versions {after} and {until}",
                where=table,
                fix="Read the whole version instead.",
            )
        fresh = {file: rows for file, rows in files.items() if file not in known}
        return self._snapshot(table, delta, fresh)

    def read(self, snapshot: Snapshot, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a snapshot, in the table's columns and types.

        Raises:
            SchemaMismatch: a column that the snapshot has not.
        """
        wanted = snapshot.schema.names if columns is None else list(columns)
        missing = [name for name in wanted if name not in snapshot.schema.names]
        if missing:
            raise SchemaMismatch(f"the table has no column {missing[0]!r}", where=snapshot.table)
        if not snapshot.files:
            return snapshot.schema.empty_table().select(wanted)
        return _dataset(snapshot.files, snapshot.schema).to_table(columns=wanted)

    def remove(self, table: str, column: str, *, before: datetime | None = None, values: Sequence[str] = ()) -> int:
        """Remove rows for good: what a column dates before a moment, or whose text is one of some values.

        They are gone from every later snapshot at once, and from the disk when `sweep` comes by afterwards. One
        commit removes them, so that a death in between leaves all of them or none; who appends meanwhile is not
        held up.

        Returns:
            How many rows were removed.

        Raises:
            NotFound: no such table.
            Unavailable: other writers won every race.
        """
        snapshot = self.snapshot(table)
        if not snapshot.files or column not in snapshot.schema.names:
            return 0
        field = pc.field(column)
        doomed = field < pa.scalar(before, _INSTANT) if before is not None else field.isin(list(values))
        rows = int(_dataset(snapshot.files, snapshot.schema).count_rows(filter=doomed))
        if rows:
            retrying = stamina.RetryingCaller(attempts=ATTEMPTS, timeout=120.0, wait_initial=0.01, wait_max=0.5)
            try:
                retrying(CommitFailedError, self._delete, table, _predicate(column, before, values))
            except CommitFailedError as error:
                raise Unavailable("other writers kept changing the table", where=table, fix="Try again.") from error
        return rows

    def sweep(self, table: str, spare: timedelta) -> int:
        """Delete the files of rows that were removed at least so long ago; whoever still reads them has had time.

        Only for tables of whose former versions nobody needs one.

        Returns:
            How many files went.
        """
        hours = math.ceil(spare.total_seconds() / 3600)
        delta = self._open(table)
        return len(delta.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False))

    def _delete(self, table: str, predicate: str) -> None:
        delta = self._open(table)
        if delta.metadata().configuration.get(_APPEND_ONLY, "false") == "true":
            delta.alter.set_table_properties({_APPEND_ONLY: "false"})
            delta = self._open(table)
        delta.delete(predicate)

    def _append(self, table: str, data: pa.Table, operation: str, sequence: int) -> int:
        path = self._path(table)
        path.mkdir(parents=True, exist_ok=True)
        if not self.exists(table):
            _mapped(
                table,
                lambda: DeltaTable.create(
                    str(path), schema=data.schema, mode="ignore", configuration=_CONFIGURATION
                ),
            )
        delta = self._open(table)
        taken = delta.transaction_version(operation)
        if taken is not None and taken >= sequence:
            return int(delta.version())
        fitting = _fitted(data, pa.schema(delta.schema().to_arrow()), table)
        once = CommitProperties(app_transactions=[Transaction(operation, sequence)])
        _mapped(
            table,
            lambda: write_deltalake(
                delta,
                fitting,
                mode="append",
                schema_mode="merge",
                commit_properties=once,
                writer_properties=_encodings(fitting),
            ),
        )
        return int(delta.version())

    def _files(self, table: str, delta: DeltaTable) -> dict[str, int]:
        """Rows by file of one version."""
        _require_readable(delta, table)
        path = self._path(table)
        actions = pa.table(delta.get_add_actions(flatten=True))
        names, rows = actions["path"].to_pylist(), actions["num_records"].to_pylist()
        return {str(path / name): count or 0 for name, count in zip(names, rows, strict=True)}

    def _snapshot(self, table: str, delta: DeltaTable, files: dict[str, int]) -> Snapshot:
        return Snapshot(
            table=table,
            version=delta.version(),
            files=tuple(files),
            schema=pa.schema(delta.schema().to_arrow()),
            rows=sum(files.values()),
        )

    def _open(self, table: str, version: int | None = None) -> DeltaTable:
        path = str(self._path(table))
        try:
            delta = DeltaTable(path)
            if version is not None and version > delta.version():
                raise NotFound(f"the table has no version {version}", where=table)
            if version is not None and version != delta.version():
                delta.load_as_version(version)
        except TableNotFoundError as error:
            raise NotFound("there is no such table in the lake", where=table) from error
        except DeltaError as error:
            raise NotFound(f"version {version} of the table cannot be read", where=table) from error
        return delta

    def _path(self, table: str) -> Path:
        segments = table.split("/")
        if not all(segments):
            raise InvalidInput("this is not the name of a table", where=table[:200])
        return self._directory.joinpath(*(_escaped(segment) for segment in segments))


def open_lake(home: Path) -> Lake:
    """The lake of a platform, in `home/lake`."""
    return Lake(home / "lake")


def _escaped(segment: str) -> str:
    # Delta's URLs, DuckDB's globs and Hive's partitions all give meanings to signs, so none is used but the
    # dot.
    return "".join(
        sign if _PLAIN.fullmatch(sign) else "".join(f".{byte:02x}" for byte in sign.encode()) for sign in segment
    )


def _predicate(column: str, before: datetime | None, values: Sequence[str]) -> str:
    """The rows to remove, in Delta's SQL."""
    name = '"' + column.replace('"', '""') + '"'
    if before is not None:
        instant = f"{before.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        return f"{name} < arrow_cast('{instant}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{name} IN ({texts})"


def _plain(segment: str) -> str:
    """The opposite of `_escaped`."""
    parts = re.split(r"((?:\.[0-9a-f]{2})+)", segment)
    return "".join(
        bytes.fromhex(part.replace(".", "")).decode() if part.startswith(".") else part for part in parts
    )


def _dataset(files: tuple[str, ...], schema: pa.Schema) -> ds.Dataset:
    return ds.dataset(list(files), schema=schema, format="parquet")


def _mapped(table: str, write: Callable[[], T]) -> T:
    try:
        return write()
    except (CommitFailedError, OSError):
        raise
    except Exception as error:  # deltalake raises bare Exceptions for rows that do not fit
        raise SchemaMismatch(
            "the rows cannot be stored", where=table, fix=str(error).splitlines()[0][:200]
        ) from error


def _require_readable(delta: DeltaTable, table: str) -> None:
    may_delete = "deletionVectors" in (delta.protocol().reader_features or ())
    refused = {
        "deletion vectors": may_delete and pa.table(delta.deletion_vectors()).num_rows > 0,
        "partition columns": bool(delta.metadata().partition_columns),
        "column mapping": delta.metadata().configuration.get("delta.columnMapping.mode", "none") != "none",
    }
    for feature, present in refused.items():
        if present:
            raise InvalidInput(
                f"the table has {feature}, which would make its files mean something else than they say",
                where=table,
                fix="Rewrite it without, or copy it into a table that Headrace appends to.",
            )


def _storable(data: pa.Table, table: str) -> pa.Table:
    """The rows in types that every version of Delta has."""
    fields = []
    for field in data.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_timestamp(kind):
            # The instant as it is; what has no zone is UTC. Nanoseconds are floored, or an event would move
            # ahead.
            kind = pa.timestamp("us", tz="UTC")
        elif pa.types.is_uint64(kind) or pa.types.is_uint32(kind):
            kind = pa.int64()
        elif pa.types.is_unsigned_integer(kind):
            kind = pa.int32()
        elif pa.types.is_float16(kind):
            kind = pa.float32()
        elif pa.types.is_large_string(kind):
            kind = pa.string()
        elif pa.types.is_null(kind):
            raise SchemaMismatch("the column holds nothing but nulls of no type", where=f"{table}.{field.name}")
        fields.append(pa.field(field.name, kind))
    return _cast(data, pa.schema(fields), table)


def hardly_repeated(data: pa.Table) -> list[str]:
    """Columns of numbers or texts whose values are mostly unlike: to look for a dictionary of them is in vain."""
    sample = data.slice(0, SAMPLE_ROWS)
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_string)
    return [
        field.name
        for field in sample.schema
        if any(matches(field.type) for matches in kinds)
        and 2 * pc.count_distinct(sample.column(field.name)).as_py() > SAMPLE_ROWS
    ]


def _encodings(data: pa.Table) -> WriterProperties:
    """Plain numbers and texts by their differences where values are unlike: half the time and less room."""
    return WriterProperties(
        column_properties={
            name: ColumnProperties(
                dictionary_enabled=False,
                encoding="DELTA_BYTE_ARRAY" if pa.types.is_string(data.schema.field(name).type) else "PLAIN",
            )
            for name in hardly_repeated(data)
        }
    )


def _fitted(data: pa.Table, existing: pa.Schema, table: str) -> pa.Table:
    """The rows in the types that the table's columns have already."""
    fields = [
        pa.field(field.name, existing.field(field.name).type if field.name in existing.names else field.type)
        for field in data.schema
    ]
    return _cast(data, pa.schema(fields), table)


def _cast(data: pa.Table, schema: pa.Schema, table: str) -> pa.Table:
    columns = []
    for field in schema:
        column = data[field.name]
        if column.type == field.type:
            columns.append(column)
            continue
        try:
            columns.append(_cast_column(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaMismatch(
                f"the column holds {column.type}, which does not fit into {field.type}",
                where=f"{table}.{field.name}",
                fix="Convert the data to the type that the table has.",
            ) from error
    return pa.table(columns, schema=schema)


def _cast_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return floor_to_microseconds(column)
    return column.cast(kind)


def floor_to_microseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps of any unit as microseconds in UTC; nanoseconds are floored, never rounded."""
    if column.type.unit != "ns":
        return column.cast(pa.timestamp("us", tz="UTC"))
    floored = [_floor_nanoseconds(chunk) for chunk in column.chunks]
    return pa.chunked_array(floored, type=pa.timestamp("us", tz="UTC"))


def _floor_nanoseconds(chunk: pa.Array) -> pa.Array:
    zone = pa.timestamp("us", tz="UTC")
    truncated = chunk.cast(pa.timestamp("us", tz=chunk.type.tz), safe=False).cast(pa.int64())
    behind = pc.less(chunk.cast(pa.int64()), pc.multiply(truncated, 1000))
    return pc.subtract(truncated, behind.cast(pa.int64())).cast(zone)
