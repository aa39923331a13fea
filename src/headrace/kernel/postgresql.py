"""The grown-up database: PostgreSQL, for more than one control process or a server that is kept elsewhere.

Verbs check and then change, which is only right while nobody changes in between. So writers take one advisory lock
for each group of works, here as in the embedded database: the order of commits is the order of events, whichever
process writes, and group commit pays the price of the lock once for many works.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from headrace.errors import MissingExtra, Unavailable
from headrace.kernel.bells import Bell
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.database import DEFAULT_WORKSPACE, Tx
from headrace.kernel.writer import GroupWriter

log = structlog.get_logger()

T = TypeVar("T")

_WRITE_LOCK = 0x68_65_61_64_72_61_63_65  # "headrace"; held by whoever writes
CONNECT_TIMEOUT_S = 10


class PostgresDatabase:
    """`Database` on a PostgreSQL server; durability is the server's `synchronous_commit`, on by default.

    Args:
        url: `postgresql://user:password@host:port/database`.
        clock: tells `Tx.now`.

    Raises:
        MissingExtra: psycopg is not installed.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self.bell = Bell()
        self._clock = clock or SystemClock()
        address = sqlalchemy_url(url)
        self._write_engine = _engine(address, pool_size=1, max_overflow=1)
        self._read_engine = _engine(address, pool_size=8, max_overflow=24, pool_pre_ping=True)
        self._writer = GroupWriter(_Connector(self._write_engine), self._clock, self.bell)

    def submit(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> "Future[T]":
        """Queue `work` for the writer thread."""
        return self._writer.submit(work, actor, workspace)

    def write(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` and wait until the server has made its group durable."""
        return self._writer.write(work, actor, workspace)

    def read(self, work: Callable[[Tx], T], *, actor: str = "reader", workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` on a snapshot of the last commit."""
        try:
            connection = self._read_engine.connect()
        except sa.exc.OperationalError as error:
            log.warning("the database does not answer", reason=str(error.orig))  # callers may be anybody
            raise Unavailable(
                "the database does not answer",
                where="database",
                fix="Try again when it is back; the log says more.",
            ) from error
        with connection:
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                now = self._clock.now()
                return work(Tx(connection, now=now, actor=actor, workspace=workspace, callbacks=[], bell=self.bell))
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql("ROLLBACK")

    def close(self) -> None:
        """Commit what is queued, then close every connection."""
        self._writer.close()
        self._write_engine.dispose()
        self._read_engine.dispose()


def sqlalchemy_url(url: str) -> sa.URL:
    """The URL with the driver that we use named in it."""
    return sa.make_url("postgresql+psycopg://" + url.partition("://")[2])


def _engine(address: sa.URL, **options: Any) -> sa.Engine:
    try:
        return sa.create_engine(
            address,
            hide_parameters=True,  # what was logged is in no error, and so in no log
            isolation_level="AUTOCOMMIT",  # transactions are opened by hand
            execution_options={"preserve_rowcount": True},  # of an INSERT too, which may have met a conflict
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "headrace"},
            **options,
        )
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "PostgreSQL needs psycopg", where="HEADRACE_DATABASE", fix="Run: pip install 'headrace[postgres]'"
        ) from error


class _Connector:
    """How the writer talks to PostgreSQL."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._transaction = ""

    def connect(self) -> sa.Connection:
        return self._engine.connect()

    def begin(self, connection: sa.Connection) -> None:
        try:
            self._begin(connection)
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            connection.rollback()  # the server was restarted while nothing was written: connect again
            self._begin(connection)

    def commit(self, connection: sa.Connection) -> None:
        try:
            connection.exec_driver_sql("COMMIT")
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            try:
                kept = was_committed(self._engine, self._transaction)
            except sa.exc.DBAPIError as silence:
                raise Unavailable(
                    "the connection to the database broke while it wrote; it is not known whether it did",
                    where="database",
                    fix="Look whether the change is there before you send it again.",
                ) from silence
            if not kept:
                raise

    def in_transaction(self, connection: sa.Connection) -> bool:
        if connection.invalidated or connection.closed:
            return False
        driver: Any = connection.connection.driver_connection
        return driver.info.transaction_status.name in {"INTRANS", "INERROR"}

    def _begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")
        # in a statement of its own, since a statement sees what was committed before it began
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
        self._transaction = connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one()


def was_committed(engine: sa.Engine, transaction: str) -> bool:
    """Whether a transaction, whose connection broke during COMMIT, was kept.

    Args:
        engine: connects to the same server.
        transaction: what `pg_current_xact_id()` told inside it.
    """
    lock = f"SELECT pg_advisory_lock({_WRITE_LOCK}), pg_advisory_unlock({_WRITE_LOCK})"
    with engine.connect() as connection:
        connection.exec_driver_sql(lock)  # free once the server has ended the broken connection
        status = connection.exec_driver_sql(
            "SELECT pg_xact_status(CAST(%(transaction)s AS xid8))", {"transaction": transaction}
        ).scalar_one()
    return bool(status == "committed")
