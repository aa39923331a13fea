"""Ingest: reads the events of a source that have happened by a business time into its lake table.

Event times become `event_ts`, microseconds in UTC. A DATE counts from the end of its day, because what
happened on a day is not known before it is over. How far the table has been read is remembered by the table
itself, in the commit of the rows, so the work may be repeated or killed at any moment without losing or
doubling an event.
"""

from contextlib import closing
from pathlib import PurePosixPath

import pyarrow as pa

from headrace.errors import InvalidInput, SchemaMismatch
from headrace.features.engine import DataEngine, DataFile, DuckDBEngine, quoted
from headrace.features.frames import EVENT_TIME, UTC_TIME
from headrace.features.nouns import Ingest, Ingested
from headrace.features.windows import DAY_US
from headrace.kernel.blobs import download, fetch
from headrace.kernel.lake import Lake
from headrace.kernel.schema import from_microseconds, to_microseconds
from headrace.kernel.work import WorkContext
from headrace.project.source import Source

OPERATION = "features.ingest"
OWN = "headrace_us"
"""The column that queries add to a source's own."""
_FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}


def run_ingest(context: WorkContext, payload: Ingest) -> Ingested:
    """The runner of the job features.ingest."""
    file = _local_copy(context, payload)
    context.progress(0.3, "read the source")
    with closing(DuckDBEngine(context.directory / "duckdb")) as engine:
        return ingest(engine, context.lake, payload, file)


def ingest(engine: DataEngine, lake: Lake, payload: Ingest, file: DataFile) -> Ingested:
    """Append the events in (what the table has been read through, `payload.through`].

    Raises:
        SchemaMismatch: the time column is missing or holds no time, or a column cannot be stored.
        InvalidInput: the file cannot be read.
    """
    through_us = to_microseconds(payload.through)
    after_us = lake.sequence(payload.table, OPERATION)
    names = engine.schema(file).names
    time_us = _time_us(payload.source, engine.schema(file))
    stamped = f"SELECT *, {time_us} AS headrace_us FROM file"  # noqa: S608 - quoted
    since = "" if after_us is None else f"AND headrace_us > {after_us}"
    before = "false" if after_us is None else f"headrace_us <= {after_us}"
    counts = engine.query(
        f"SELECT count(*) FILTER (headrace_us IS NULL) AS timeless, count(*) FILTER ({before}) AS early "  # noqa: S608
        f"FROM ({stamped})",
        {"file": file},
    ).to_pylist()[0]
    known_rows = 0 if after_us is None else lake.snapshot(payload.table).rows
    added = engine.query(
        f"SELECT * FROM ({stamped}) WHERE headrace_us <= {through_us} {since} ORDER BY headrace_us",  # noqa: S608
        {"file": file},
    )
    moments = added["headrace_us"].cast(UTC_TIME)
    kept = added.select([name for name in names if name != EVENT_TIME]).append_column(EVENT_TIME, moments)
    lake.append(payload.table, kept, operation=OPERATION, sequence=through_us)
    snapshot = lake.snapshot(payload.table)
    return Ingested(
        lake_version=snapshot.version,
        through=from_microseconds(max(through_us, after_us or through_us)),
        rows=snapshot.rows,
        added_rows=kept.num_rows,
        late_rows=max(0, counts["early"] - known_rows),
        rows_without_time=counts["timeless"],
    )


def _time_us(source: Source, schema: pa.Schema) -> str:
    """The event time in microseconds since 1970, as SQL."""
    if source.time not in schema.names:
        raise SchemaMismatch(
            f"the source has no column {source.time!r}",
            where=source.declared_at or f"source/{source.name}",
            fix=f"Its columns are: {', '.join(schema.names[:20])}.",
        )
    if any(name.lower() == OWN for name in schema.names):
        raise SchemaMismatch(
            f"the source has a column {OWN}, which is a name of ours",
            where=f"source/{source.name}",
            fix="Rename it.",
        )
    if source.time != EVENT_TIME and any(name.lower() == EVENT_TIME for name in schema.names):
        raise SchemaMismatch(
            f"the source has a column {EVENT_TIME}, which is not its time",
            where=f"source/{source.name}",
            fix=f'Rename it, or declare time="{EVENT_TIME}".',
        )
    kind = schema.field(source.time).type
    column = quoted(source.time)
    if pa.types.is_date(kind):
        return f"epoch_us(CAST({column} AS TIMESTAMP)) + {DAY_US}"
    if not pa.types.is_timestamp(kind):
        raise SchemaMismatch(
            f"the time column holds {kind}",
            where=f"{source.name}.{source.time}",
            fix="Convert it to a DATE or a TIMESTAMP.",
        )
    if kind.unit == "ns":  # floored, as everywhere: an event must not move past a moment that did not see it
        nanoseconds = f"epoch_ns({column})"
        return f"{nanoseconds} // 1000 - CAST({nanoseconds} % 1000 < 0 AS BIGINT)"
    return f"epoch_us({column})"


def _local_copy(context: WorkContext, payload: Ingest) -> DataFile:
    name = PurePosixPath(payload.source.path).name
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidInput(
            "the format of the source is not known",
            where=payload.source.path,
            fix="Use a .parquet or a .csv file.",
        )
    path = context.directory / f"source{suffix}"
    if payload.data_digest is not None:
        fetch(context.blobs, payload.data_digest, path)
    elif payload.source.is_uri:
        download(payload.source.path, path)
    else:
        raise InvalidInput(
            "the source's file was not sent with its project",
            where=payload.source.path,
            fix="Apply the project again: headrace apply.",
        )
    return DataFile(path=path, format="parquet" if _FORMATS[suffix] == "parquet" else "csv")
