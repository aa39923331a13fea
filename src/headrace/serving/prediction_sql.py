"""Runs one SELECT over the prediction log and its feedback, confined: the runner of `serving.query_predictions`.

Work-side. The SQL is a stranger's, so it sees the tables as Arrow data sets and nothing else: no files, no network,
no extensions, no settings; within limits of memory, time and rows. A mistake in it is an answer and no failed job.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from headrace.features.engine import literal, quoted
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.compaction import PREDICTIONS, compact_closed, predictions_table
from headrace.serving.feedback_join import FEEDBACK, feedback_table
from headrace.serving.logged_tables import FEATURE_PREFIX
from headrace.serving.query_nouns import Answer, Query

MEMORY_LIMIT = "1GB"
SPILL_LIMIT = "4GB"
ROWS_LIMIT = 1_000_000
BYTES_LIMIT = 256 << 20
BATCH_ROWS = 10_000
_EFFECTIVE = (
    'row_number() OVER (PARTITION BY prediction_id, name ORDER BY "at" DESC, sequence DESC) = 1 AS effective'
)
_EMPTY = {
    PREDICTIONS: pa.schema([("prediction_id", pa.string()), ("model", pa.string()), ("version", pa.int64())]),
    FEEDBACK: pa.schema([("prediction_id", pa.string()), ("model", pa.string()), ("name", pa.string())]),
}


class _Refused(Exception):
    """The query is not one that is run."""


def run_query(ctx: WorkContext, query: Query) -> Answer:
    """Answer a query; what is closed of the log is brought into the lake first."""
    compact_closed(ctx)
    ctx.progress(0.3, "the log is in the lake")
    file = ctx.directory / "answer.parquet"
    scratch = ctx.directory / "spill"
    scratch.mkdir()
    try:
        rows, truncated = select(ctx.lake, query, file, scratch)
    except _Refused as refused:
        return Answer(problem=str(refused))
    return Answer(digest=ctx.blobs.put(file).digest, rows=rows, truncated=truncated)


def select(lake: Lake, query: Query, file: Path, scratch: Path) -> tuple[int, bool]:
    """Write the rows of a query into a Parquet file.

    Returns:
        How many, and whether there were more than are kept.

    Raises:
        _Refused: what is wrong with the query.
    """
    with _confined(lake, scratch) as connection:
        alarm = threading.Timer(query.timeout_s, connection.interrupt)
        alarm.daemon = True
        try:
            _require_select(connection, query.sql)
            alarm.start()
            return _write(connection.sql(query.sql).to_arrow_reader(BATCH_ROWS), file)
        except (duckdb.InterruptException, RuntimeError) as error:
            if not isinstance(error, duckdb.InterruptException) and "INTERRUPT" not in str(error).upper():
                raise _Refused(_told(error)) from None
            raise _Refused(f"the query took longer than {query.timeout_s:g} s") from None
        except duckdb.OutOfMemoryException:
            raise _Refused(
                f"the query needs more than {MEMORY_LIMIT} of memory and {SPILL_LIMIT} of disk"
            ) from None
        except (duckdb.Error, pa.ArrowException) as error:
            raise _Refused(_told(error)) from None
        finally:
            alarm.cancel()


@contextmanager
def _confined(lake: Lake, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that has the tables and can reach nothing else."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": MEMORY_LIMIT,
            "threads": "2",
            "temp_directory": str(scratch),
            "max_temp_directory_size": SPILL_LIMIT,
        },
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false")
        for kind, name_of in ((PREDICTIONS, predictions_table), (FEEDBACK, feedback_table)):
            models = [model for model in lake.tables(kind) if lake.snapshot(name_of(model)).files]
            _present(connection, lake, kind, {model: name_of(model) for model in models})
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _present(connection: duckdb.DuckDBPyConnection, lake: Lake, kind: str, tables: dict[str, str]) -> None:
    """`kind.model` for each model with all of its columns, and `kind` for all, without features."""
    connection.execute(f"CREATE SCHEMA {kind}")
    selects = []
    for place, (model, table) in enumerate(tables.items()):
        snapshot = lake.snapshot(table)
        raw = f"{kind}_{place}"
        connection.register(raw, ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet"))
        derived = f"*, {literal(model)} AS model, {_EFFECTIVE}" if kind == FEEDBACK else "*"
        connection.execute(f"CREATE VIEW {kind}.{quoted(model)} AS SELECT {derived} FROM {raw}")  # noqa: S608 - quoted
        own = [name for name in snapshot.schema.names if not name.startswith(FEATURE_PREFIX)]
        columns = ", ".join(quoted(name) for name in own) + (", model, effective" if kind == FEEDBACK else "")
        selects.append(f"SELECT {columns} FROM {kind}.{quoted(model)}")  # noqa: S608 - quoted
    if not selects:
        connection.register(f"{kind}_none", _EMPTY[kind].empty_table())
        selects.append(f"SELECT * FROM {kind}_none")  # noqa: S608 - a constant
    connection.execute(f"CREATE VIEW {kind} AS {' UNION ALL BY NAME '.join(selects)}")


def _require_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise _Refused("a query is one SELECT")


def _write(rows: pa.RecordBatchReader, file: Path) -> tuple[int, bool]:
    written = 0
    with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
        for batch in rows:
            if written == ROWS_LIMIT or file.stat().st_size > BYTES_LIMIT:
                return written, True
            part = batch.slice(0, ROWS_LIMIT - written)
            writer.write_batch(part)
            written += part.num_rows
            if part.num_rows < batch.num_rows:
                return written, True
    return written, False


def _told(error: Exception) -> str:
    """The first line of what the engine says; the query is the asker's own."""
    return str(error).splitlines()[0][:500]
