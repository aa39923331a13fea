"""The embedded database: SQLite in WAL mode with one writer thread that commits in groups.

Many callers queue small works; the writer runs each in a savepoint and commits them together, so that one
flush to disk serves the whole group and `database is locked` cannot happen inside the process.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from headrace.errors import InternalError, Unavailable
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.database import DEFAULT_WORKSPACE, Tx

T = TypeVar("T")

GROUP_LIMIT = 256
BUSY_TIMEOUT_MS = 30_000


class _Work(NamedTuple):
    run: Callable[[Tx], Any]
    actor: str
    workspace: str
    future: "Future[Any]"


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
        self._clock = clock or SystemClock()
        self._works: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._closing = threading.Lock()
        self._write_engine = self._engine(synchronous, query_only=False)
        self._read_engine = self._engine(synchronous, query_only=True)
        with self._write_engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        self._writer = threading.Thread(target=self._serve, name="database-writer", daemon=True)
        self._writer.start()

    def submit(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> "Future[T]":
        """Queue `work` for the writer thread."""
        future: Future[T] = Future()
        with self._closing:
            if self._closed.is_set():
                raise Unavailable("the database is closed")
            self._works.put(_Work(work, actor, workspace, future))
        return future

    def write(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` and wait until its group is on disk."""
        if threading.current_thread() is self._writer:
            raise InternalError("a verb opened a transaction inside a transaction", where="database")
        return self.submit(work, actor=actor, workspace=workspace).result()

    def read(self, work: Callable[[Tx], T], *, actor: str = "reader", workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` on a snapshot of the last commit."""
        with self._read_engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                return work(Tx(connection, now=self._clock.now(), actor=actor, workspace=workspace, callbacks=[]))
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def close(self) -> None:
        """Commit what is queued, then close every connection."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            self._works.put(None)
        self._writer.join()
        self._write_engine.dispose()
        self._read_engine.dispose()

    def _engine(self, synchronous: str, *, query_only: bool) -> sa.Engine:
        engine = sa.create_engine(
            f"sqlite:///{self.path}",
            isolation_level="AUTOCOMMIT",  # transactions are opened by hand: BEGIN IMMEDIATE, savepoints
            poolclass=QueuePool,
            pool_size=1 if not query_only else 8,
            max_overflow=0 if not query_only else 24,
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        )

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            cursor.execute(f"PRAGMA synchronous={synchronous}")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA temp_store=MEMORY")
            if query_only:
                cursor.execute("PRAGMA query_only=ON")
            cursor.close()

        return engine

    def _serve(self) -> None:
        with self._write_engine.connect() as connection:
            while (first := self._works.get()) is not None:
                group = [first]
                ended = False
                while len(group) < GROUP_LIMIT and not ended:
                    try:
                        following = self._works.get_nowait()
                    except queue.Empty:
                        break
                    if following is None:
                        ended = True
                    else:
                        group.append(following)
                self._commit(connection, [work for work in group if work.future.set_running_or_notify_cancel()])
                if ended:
                    return

    def _commit(self, connection: sa.Connection, group: list[_Work]) -> None:
        """Run a group in one transaction; resolve its futures only after the commit."""
        outcomes: list[tuple[_Work, Any, BaseException | None]] = []
        callbacks: list[Callable[[], None]] = []
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            outcomes.extend([self._run(connection, work, callbacks) for work in group])
            connection.exec_driver_sql("COMMIT")
        except BaseException as error:  # noqa: BLE001 - every caller must hear of it, the writer must live on
            self._abandon(connection)
            for work in group:
                work.future.set_exception(_unavailable(error))
            return
        for work, result, failure in outcomes:
            if failure is None:
                work.future.set_result(result)
            else:
                work.future.set_exception(failure)
        for callback in callbacks:
            callback()

    def _run(
        self, connection: sa.Connection, work: _Work, callbacks: list[Callable[[], None]]
    ) -> tuple[_Work, Any, BaseException | None]:
        """Run one work in a savepoint, so that its failure does not touch the rest of the group."""
        own: list[Callable[[], None]] = []
        tx = Tx(connection, now=self._clock.now(), actor=work.actor, workspace=work.workspace, callbacks=own)
        connection.exec_driver_sql("SAVEPOINT work")
        try:
            result = work.run(tx)
        except BaseException as failure:
            if not _in_transaction(connection):  # a full disk makes SQLite roll back everything
                raise
            connection.exec_driver_sql("ROLLBACK TO work")
            connection.exec_driver_sql("RELEASE work")
            return work, None, failure
        connection.exec_driver_sql("RELEASE work")
        callbacks.extend(own)
        return work, result, None

    def _abandon(self, connection: sa.Connection) -> None:
        if _in_transaction(connection):
            connection.exec_driver_sql("ROLLBACK")


def _in_transaction(connection: sa.Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _unavailable(error: BaseException) -> BaseException:
    if isinstance(error, sa.exc.DBAPIError):
        problem = Unavailable(
            f"the database could not write: {error.orig}",
            where="database",
            fix="Free disk space or check the disk; nothing of this request was kept, send it again.",
        )
        problem.__cause__ = error
        return problem
    return error
