"""The metadata database: one seam for SQLite and PostgreSQL, one way in for every change.

Verbs are plain functions that take a `Tx`. Whoever opens a transaction (a route, a settling job, a subscriber)
hands such a function to `Database.write`, which returns when the change is durable.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from headrace.errors import HeadraceError, InvalidInput, PermissionRefused
from headrace.kernel.bells import Bell

T = TypeVar("T")

DEFAULT_WORKSPACE = "default"

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_UNFIT = (OverflowError, UnicodeEncodeError, sa.exc.DataError)


class Tx:
    """One transaction, on behalf of one actor in one workspace.

    Attributes:
        now: wall time at which the transaction began, aware UTC; the time of every record that it writes.
        actor: id of the principal on whose behalf it acts.
        workspace: the workspace that it may touch.
        dialect: "sqlite" or "postgresql".
    """

    __slots__ = ("_bell", "_callbacks", "_connection", "actor", "dialect", "now", "workspace")

    def __init__(
        self,
        connection: sa.Connection,
        *,
        now: datetime,
        actor: str,
        workspace: str,
        callbacks: list[Callable[[], None]],
        bell: Bell,
    ) -> None:
        self._connection = connection
        self._callbacks = callbacks
        self._bell = bell
        self.now = now
        self.actor = actor
        self.workspace = workspace
        self.dialect = connection.dialect.name

    def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> sa.CursorResult[Any]:
        """Run one statement; a list of parameters runs it for each of them.

        Raises:
            InvalidInput: a value fits no column, such as a number of more than 64 bits.
        """
        try:
            return self._connection.execute(statement, parameters)
        except _UNFIT as error:
            raise _unfit() from error
        except sa.exc.StatementError as error:
            if isinstance(error.orig, InvalidInput):  # the type of a column refused it
                raise error.orig from error
            raise

    def execute_driver(self, text: str, parameters: Any, *, many: bool = False) -> Any:
        """Hand a text to the driver as it is, for `kernel.prepared` alone; returns the driver's cursor.

        Args:
            text: SQL with the driver's own marks for parameters.
            parameters: of the text; a list of them when it is to be run `many` times.

        Raises:
            InvalidInput: a value fits no column.
        """
        connection = self._connection
        cursor = connection.connection.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(text, parameters)
        except _UNFIT as error:
            raise _unfit() from error
        except connection.dialect.loaded_dbapi.Error as error:
            self._fail(text, cursor, error)
        return cursor

    def _fail(self, text: str, cursor: Any, error: Any) -> NoReturn:
        """Raise a driver's error as SQLAlchemy would have, so that whoever opened the transaction knows it."""
        connection = self._connection
        broken = connection.dialect.is_disconnect(error, connection.connection, cursor)
        if broken:
            connection.invalidate(error)
        failure = sa.exc.DBAPIError.instance(
            text,
            None,
            error,
            connection.dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=broken,
            dialect=connection.dialect,
        )
        if isinstance(failure, sa.exc.DataError):
            raise _unfit() from error
        raise failure from error

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the transaction is durable; never when it is rolled back."""
        self._callbacks.append(callback)

    def ring(self, topic: str) -> None:
        """Wake who waits on `topic` in this process, once the transaction is durable."""
        self._callbacks.append(partial(self._bell.ring, topic))

    def apart(self, work: Callable[["Tx"], T]) -> T:
        """Run a part of the transaction that can fail by itself: what it wrote is then undone, and nothing else.

        For loops over what belongs to many: one that cannot be served must not hold up the others.
        """
        callbacks = len(self._callbacks)
        self._connection.exec_driver_sql("SAVEPOINT apart")
        try:
            result = work(self)
        except BaseException:
            del self._callbacks[callbacks:]
            self._connection.exec_driver_sql("ROLLBACK TO SAVEPOINT apart")
            self._connection.exec_driver_sql("RELEASE SAVEPOINT apart")
            raise
        self._connection.exec_driver_sql("RELEASE SAVEPOINT apart")
        return result

    def acting_as(self, actor: str) -> "Tx":
        """The same transaction on behalf of another actor, for work that settles what somebody else asked for."""
        return self._like(actor, self.workspace)

    def within(self, workspace: str) -> "Tx":
        """The same transaction in another workspace, for loops that serve all of them."""
        return self._like(self.actor, workspace)

    def _like(self, actor: str, workspace: str) -> "Tx":
        return Tx(
            self._connection,
            now=self.now,
            actor=actor,
            workspace=workspace,
            callbacks=self._callbacks,
            bell=self._bell,
        )


class Database(Protocol):
    """The seam. Thread-safe; every method may be called from any thread but the writer's own.

    Order: writes are serializable; the order in which they commit is the order of the event sequence.
    Durability: `write` returns (and a future of `submit` resolves) only after the change has reached the disk.
    Atomicity: a work that raises leaves nothing behind and does not disturb others committed with it.
    Errors: what the work raises is raised to its caller unchanged; a database that cannot write raises
    `Unavailable`, and then nothing of the work was kept.

    Attributes:
        bell: rung by `Tx.ring` after commits of this process.
    """

    bell: Bell

    def submit(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> Future[T]:
        """Queue `work` for the writer."""
        ...

    def write(self, work: Callable[[Tx], T], *, actor: str, workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` in a transaction and wait until it is durable."""
        ...

    def read(self, work: Callable[[Tx], T], *, actor: str = "reader", workspace: str = DEFAULT_WORKSPACE) -> T:
        """Run `work` on one consistent snapshot that cannot write."""
        ...

    def close(self) -> None:
        """Finish what is queued and let go of every connection."""
        ...


def nowhere() -> str:
    """The address of a platform that nobody called over HTTP."""
    return ""


def _afterwards(refusal: PermissionRefused, address: Callable[[], str]) -> Callable[[Tx], HeadraceError]:
    """What follows a refused attempt; a refusal without an aftermath is answered with as it is."""
    aftermath = refusal.aftermath
    if aftermath is None:
        raise refusal
    return lambda tx: aftermath(tx, address())


class Blocking:
    """A database on behalf of one principal in one workspace, for code in a thread of its own."""

    def __init__(
        self,
        database: Database,
        *,
        actor: str,
        workspace: str = DEFAULT_WORKSPACE,
        address: Callable[[], str] = nowhere,
    ) -> None:
        self._database = database
        self._actor = actor
        self._workspace = workspace
        self._address = address

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction; returns when it is durable. A refused attempt has its aftermath."""
        try:
            return self._database.write(work, actor=self._actor, workspace=self._workspace)
        except PermissionRefused as refusal:
            follow = _afterwards(refusal, self._address)
        raise self._database.write(follow, actor=self._actor, workspace=self._workspace)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a snapshot."""
        return self._database.read(work, actor=self._actor, workspace=self._workspace)


class Transactions:
    """A database bound to one principal and workspace: what routes are given.

    Attributes:
        actor: id of the principal.
        workspace: where it acts.
        address: tells under which address the platform was called, for links in answers.
    """

    def __init__(
        self,
        database: Database,
        *,
        actor: str,
        workspace: str = DEFAULT_WORKSPACE,
        address: Callable[[], str] = nowhere,
    ) -> None:
        self._database = database
        self.actor = actor
        self.workspace = workspace
        self.address = address

    @property
    def blocking(self) -> Blocking:
        """The same for a thread."""
        return Blocking(self._database, actor=self.actor, workspace=self.workspace, address=self.address)

    def acting_as(self, actor: str, workspace: str) -> "Transactions":
        """The same on behalf of another principal, whom a proof other than a login names."""
        return Transactions(self._database, actor=actor, workspace=workspace, address=self.address)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction; returns when it is durable. A refused attempt has its aftermath."""
        try:
            return await self._submit(work)
        except PermissionRefused as refusal:
            follow = _afterwards(refusal, self.address)
        raise await self._submit(follow)

    async def _submit(self, work: Callable[[Tx], T]) -> T:
        future = self._database.submit(work, actor=self.actor, workspace=self.workspace)
        return await asyncio.wrap_future(future)

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a snapshot, off the event loop."""
        return await asyncio.to_thread(self._database.read, work, actor=self.actor, workspace=self.workspace)


def _unfit() -> InvalidInput:
    return InvalidInput(
        "a value is not one that can be stored or looked for",
        where="request",
        fix="Numbers have at most 64 bits, and text is Unicode.",
    )


def insert(tx: Tx, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """The dialect's INSERT, which has `on_conflict_do_update` and `on_conflict_do_nothing` on both databases."""
    return postgresql.insert(table) if tx.dialect == "postgresql" else sqlite.insert(table)
