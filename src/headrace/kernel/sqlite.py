"""The embedded database: SQLite in WAL mode with one writer thread that commits in groups.

Since all writes of the process go through one thread, `database is locked` cannot happen inside it.
"""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from headrace.kernel.bells import Bell
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.database import DEFAULT_WORKSPACE, Tx
from headrace.kernel.writer import GroupWriter

T = TypeVar("T")

BUSY_TIMEOUT_MS = 30_000


class SqliteDatabase:
    """`Database` on one SQLite file.

    Args:
        path: the database file; its folder must exist.
        clock: tells `Tx.now`.
        synchronous: "FULL" flushes at every group commit (an acknowledged write survives power loss),
            "NORMAL" only at checkpoints (it survives a crash of the process).
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, synchronous: str = "FULL") -> None:
        self.path = path
        self.bell = Bell()
        self._clock = clock or SystemClock()
        self._write_engine = self._engine(synchronous, query_only=False)
        self._read_engine = self._engine(synchronous, query_only=True)
        with self._write_engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        self._writer = GroupWriter(_Connector(self._write_engine), self._clock, self.bell)

    def submit(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> "Future[T]":
        """Queue `work` for the writer thread."""
        return self._writer.submit(work, actor, workspace)

    def write(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` and wait until its group is on disk."""
        return self._writer.write(work, actor, workspace)

    def read(self, work: Callable[[Tx], T], *, actor: str = "reader", workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` on a snapshot of the last commit."""
        with self._read_engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                now = self._clock.now()
                return work(Tx(connection, now=now, actor=actor, workspace=workspace, callbacks=[], bell=self.bell))
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def close(self) -> None:
        """Commit what is queued, then close every connection."""
        self._writer.close()
        self._write_engine.dispose()
        self._read_engine.dispose()

    def _engine(self, synchronous: str, *, query_only: bool) -> sa.Engine:
        engine = sa.create_engine(
            f"sqlite:///{self.path}",
            hide_parameters=True,  # what was logged is in no error, and so in no log
            isolation_level="AUTOCOMMIT",  # transactions are opened by hand: BEGIN IMMEDIATE, savepoints
            poolclass=QueuePool,
            pool_size=1 if not query_only else 8,
            max_overflow=0 if not query_only else 24,
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        )

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.create_function("unicode_lower", 1, _lower, deterministic=True)
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            cursor.execute(f"PRAGMA synchronous={synchronous}")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA temp_store=MEMORY")
            if query_only:
                cursor.execute("PRAGMA query_only=ON")
            cursor.close()

        return engine


def _lower(text: str | None) -> str | None:
    """What `lower` is on PostgreSQL; SQLite's own knows ASCII only."""
    return None if text is None else text.lower()


class _Connector:
    """How the writer talks to SQLite."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def connect(self) -> sa.Connection:
        return self._engine.connect()

    def begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def commit(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("COMMIT")

    def in_transaction(self, connection: sa.Connection) -> bool:
        driver: Any = connection.connection.driver_connection
        return bool(driver.in_transaction)
