"""The one way in for every change: a thread that commits the queued works in groups.

Many callers queue small works. The writer runs each in a savepoint and commits them together, so that one flush to
disk serves the whole group, a work never meets another half done, and the order of commits is the order of events.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeVar

import sqlalchemy as sa

from headrace.errors import InternalError, Unavailable
from headrace.kernel.bells import Bell
from headrace.kernel.clocks import Clock
from headrace.kernel.database import Tx

T = TypeVar("T")

GROUP_LIMIT = 256

_LOG = logging.getLogger(__name__)


class Connector(Protocol):
    """What differs between databases; called from the writer's thread alone."""

    def connect(self) -> sa.Connection:
        """A connection that opens no transactions by itself."""
        ...

    def begin(self, connection: sa.Connection) -> None:
        """Open a transaction in which no other writer can be."""
        ...

    def commit(self, connection: sa.Connection) -> None:
        """Make it durable; an error means that nothing of it was kept."""
        ...

    def in_transaction(self, connection: sa.Connection) -> bool:
        """Whether the transaction is still open, as the driver sees it."""
        ...


class _Work(NamedTuple):
    run: Callable[[Tx], Any]
    actor: str
    workspace: str
    future: "Future[Any]"


class _Outcome(NamedTuple):
    work: _Work
    result: Any
    failure: BaseException | None


class GroupWriter:
    """Serves `Database.submit` and `Database.write` for one connection."""

    def __init__(self, connector: Connector, clock: Clock, bell: Bell) -> None:
        self._connector = connector
        self._clock = clock
        self._bell = bell
        self._works: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="database-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Tx], T], actor: str, workspace: str) -> "Future[T]":
        """Queue `work`; its future resolves when the group that it fell into is durable."""
        future: Future[T] = Future()
        with self._closing:
            if self._closed.is_set():
                raise Unavailable("the database is closed")
            self._works.put(_Work(work, actor, workspace, future))
        return future

    def write(self, work: Callable[[Tx], T], actor: str, workspace: str) -> T:
        """Run `work` and wait until it is durable."""
        if threading.current_thread() is self._thread:
            raise InternalError("a verb opened a transaction inside a transaction", where="database")
        return self.submit(work, actor, workspace).result()

    def close(self) -> None:
        """Commit what is queued, then end the thread."""
        with self._closing:
            if not self._closed.is_set():
                self._closed.set()
                self._works.put(None)
        self._thread.join()

    def _serve(self) -> None:
        connection: sa.Connection | None = None
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
            wanted = [work for work in group if work.future.set_running_or_notify_cancel()]
            connection = self._commit(connection, wanted)
            if ended:
                break
        if connection is not None:
            connection.close()

    def _commit(self, connection: sa.Connection | None, group: list[_Work]) -> sa.Connection | None:
        """Run a group in one transaction; resolve its futures only after the commit."""
        outcomes: list[_Outcome] = []
        callbacks: list[Callable[[], None]] = []
        try:
            connection = connection or self._connector.connect()
            self._connector.begin(connection)
            run = self._run_alone if len(group) == 1 else self._run
            outcomes.extend(run(connection, work, callbacks) for work in group)
            if not (len(group) == 1 and outcomes[0].failure):  # else it is rolled back already
                self._connector.commit(connection)
        except BaseException as error:  # noqa: BLE001 - every caller must hear of it, the writer must live on
            if connection is not None:
                connection = self._abandon(connection)
            for work in group:
                work.future.set_exception(_unavailable(error))
            return connection
        for work, result, failure in outcomes:
            if failure is None:
                work.future.set_result(result)
            else:
                work.future.set_exception(failure)
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - the change is durable; whoever was to be woken looks by itself
                _LOG.exception("a callback after the commit failed")
        return connection

    def _run_alone(self, connection: sa.Connection, work: _Work, callbacks: list[Callable[[], None]]) -> "_Outcome":
        """Run the only work of a group; with nobody else's to keep, its failure undoes the transaction."""
        tx = self._tx(connection, work, callbacks)
        try:
            return _Outcome(work, work.run(tx), None)
        except BaseException as failure:
            if not self._connector.in_transaction(connection):  # a full disk or a lost connection ended it
                raise
            connection.exec_driver_sql("ROLLBACK")
            callbacks.clear()
            return _Outcome(work, None, failure)

    def _run(self, connection: sa.Connection, work: _Work, callbacks: list[Callable[[], None]]) -> "_Outcome":
        """Run one work in a savepoint, so that its failure does not touch the rest of the group."""
        own: list[Callable[[], None]] = []
        tx = self._tx(connection, work, own)
        connection.exec_driver_sql("SAVEPOINT work")
        try:
            result = work.run(tx)
        except BaseException as failure:
            if not self._connector.in_transaction(connection):  # a full disk or a lost connection ends all of it
                raise
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
            connection.exec_driver_sql("RELEASE SAVEPOINT work")
            return _Outcome(work, None, failure)
        connection.exec_driver_sql("RELEASE SAVEPOINT work")
        callbacks.extend(own)
        return _Outcome(work, result, None)

    def _tx(self, connection: sa.Connection, work: _Work, callbacks: list[Callable[[], None]]) -> Tx:
        return Tx(
            connection,
            now=self._clock.now(),
            actor=work.actor,
            workspace=work.workspace,
            callbacks=callbacks,
            bell=self._bell,
        )

    def _abandon(self, connection: sa.Connection) -> sa.Connection | None:
        """Roll back; a connection that cannot even do that is thrown away."""
        try:
            if self._connector.in_transaction(connection):
                connection.exec_driver_sql("ROLLBACK")
        except sa.exc.SQLAlchemyError:
            connection.invalidate()
        if connection.invalidated:
            connection.close()
            return None
        return connection


def _unavailable(error: BaseException) -> BaseException:
    if isinstance(error, sa.exc.DBAPIError):
        problem = Unavailable(
            f"the database could not write: {error.orig}",
            where="database",
            fix="Check the database and its disk; nothing of this request was kept, send it again.",
        )
        problem.__cause__ = error
        return problem
    return error
