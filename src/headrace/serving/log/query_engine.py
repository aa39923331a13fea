"""Inside the process of one query: the engine, confined to the tables that it is given.

It sees them as Arrow data sets and nothing else: no files, no network, no extensions, no settings. What is wrong
with a query is an answer.
"""

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from headrace.serving.log.query_messages import (
    THREADS,
    Advanced,
    Answered,
    Began,
    Exceeded,
    Message,
    Order,
    Refused,
)

BATCH_ROWS = 10_000
LOOK_S = 0.25
BEHIND = 5
"""How far a query stands behind those who predict on the same machine, where they want the same core."""
LENGTH = 4_000
"""Of what the engine says."""
LAST_S = 5
"""Between the signal that says that the processors' time is over and the one that ends the process."""

Tell = Callable[[Message], None]


def answer(order: Order, tell: Tell) -> Message:
    """Write the rows of a query into a Parquet file, and say how it went."""
    with _confined(order) as connection:
        _bound(order)
        _step_back()
        tell(Began())
        try:
            if problem := _no_select(connection, order.sql):
                return Refused(told=problem)
            with _watched(connection, order.parent, tell):
                return _write(connection.sql(order.sql).to_arrow_reader(BATCH_ROWS), order)
        except (duckdb.OutOfMemoryException, MemoryError):
            return Exceeded()
        except (duckdb.Error, pa.ArrowException, RuntimeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, and not what the engine says while its rows are read
            return Exceeded() if "Out of Memory" in str(error) else Refused(told=str(error)[:LENGTH])


@contextmanager
def _confined(order: Order) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that has the tables and can reach nothing else."""
    pa.set_cpu_count(THREADS)
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": f"{order.limits.engine_bytes}B",
            "threads": str(THREADS),
            "temp_directory": order.spill,
            "max_temp_directory_size": f"{order.limits.spill_bytes}B",
        },
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = true")
        connection.execute("SET enable_progress_bar_print = false")
        connection.execute("SET enable_external_access = false")
        for table in order.tables:
            schema = pa.ipc.read_schema(pa.py_buffer(table.schema))
            rows: Any = schema.empty_table()
            if table.files:
                rows = ds.dataset(list(table.files), schema=schema, format="parquet")
            connection.register(table.name, rows)
        for view in order.views:
            connection.execute(view)
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _no_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """What is wrong with the kind of the statement."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        return f"a query is one SELECT, and these are {len(statements)} statements"
    if statements[0].type != duckdb.StatementType.SELECT:
        return f"a query is one SELECT, and this is {statements[0].type.name}"
    return None


def _write(rows: pa.RecordBatchReader, order: Order) -> Answered:
    limits, file = order.limits, Path(order.answer)
    written = size_bytes = 0
    with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
        for batch in rows:
            full = written == limits.rows or size_bytes > limits.answer_bytes
            if full or file.stat().st_size > limits.file_bytes:
                return Answered(rows=written, truncated=True)
            part = batch.slice(0, limits.rows - written)
            writer.write_batch(part)
            written += part.num_rows
            size_bytes += part.nbytes
            if part.num_rows < batch.num_rows:
                return Answered(rows=written, truncated=True)
    return Answered(rows=written, truncated=False)


@contextmanager
def _watched(connection: duckdb.DuckDBPyConnection, parent: int, tell: Tell) -> Iterator[None]:
    """Say how far the query is, and end with who waits for it where the system does not see to that."""
    ended = threading.Event()

    def look() -> None:
        told = 0.0
        while not ended.wait(LOOK_S):
            if os.getppid() != parent:
                os._exit(1)
            done = connection.query_progress() / 100
            if done > told:
                told = done
                tell(Advanced(fraction=min(done, 1.0)))

    watcher = threading.Thread(target=look, name="watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _bound(order: Order) -> None:
    """Limits that the system holds even where nobody looks. What watches from outside is more exact."""
    _limit(resource.RLIMIT_CPU, order.cpu_s, order.cpu_s + LAST_S)
    _limit(resource.RLIMIT_FSIZE, order.limits.spill_bytes, order.limits.spill_bytes)
    with suppress(OSError):
        data_bytes = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        most_bytes = data_bytes + order.limits.process_bytes * 3 // 2
        _limit(resource.RLIMIT_DATA, most_bytes, most_bytes)


def _limit(kind: int, *wanted: int) -> None:
    """Set the soft and the hard limit, neither above what this process may have."""
    _, hard = resource.getrlimit(kind)
    soft, hardest = (most if hard == resource.RLIM_INFINITY else min(most, hard) for most in wanted)
    resource.setrlimit(kind, (soft, hardest))


def _step_back() -> None:
    """Let whoever predicts go first, and let this process end first where the machine has no memory left."""
    os.nice(BEHIND)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
