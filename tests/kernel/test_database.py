"""The Database seam on both back ends."""

import asyncio

import pytest

from headrace.errors import PermissionRefused, PolicyRefused
from headrace.kernel import events
from headrace.kernel.database import Blocking, Database, Transactions, Tx
from headrace.kernel.postgresql import PostgresDatabase
from headrace.kernel.sqlite import SqliteDatabase
from headrace.testing.database import DatabaseContract


class TestSqliteDatabase(DatabaseContract):
    """The embedded one."""

    @pytest.fixture
    def database(self, sqlite_database: SqliteDatabase) -> Database:
        return sqlite_database


class TestPostgresDatabase(DatabaseContract):
    """The grown-up one."""

    @pytest.fixture
    def database(self, postgresql_database: PostgresDatabase) -> Database:
        return postgresql_database


class TestAftermath:
    """What follows an attempt that was refused, in a transaction of its own."""

    @staticmethod
    def refuse(tx: Tx) -> None:
        events.append(tx, "test.tried", "thing/1", {})
        refusal = PermissionRefused("not you")
        refusal.aftermath = lambda after, address: keep(after, address, refusal)
        raise refusal

    @pytest.mark.parametrize("door", ["waiting", "async"])
    def test_it_is_kept_although_the_attempt_is_not(self, sqlite_database: SqliteDatabase, door: str) -> None:
        transactions = Transactions(sqlite_database, actor="ana", address=lambda: "http://here")
        ways = {
            "async": lambda: asyncio.run(transactions.write(self.refuse)),
            "waiting": lambda: transactions.blocking.write(self.refuse),
        }
        with pytest.raises(PolicyRefused, match="asked at http://here"):
            ways[door]()
        kept = sqlite_database.read(events.recent)
        assert [(event.type, event.actor, event.payload) for event in kept] == [
            ("test.refused", "ana", {"because": "not you"})
        ]

    def test_a_refusal_without_one_is_raised_as_it_is(self, sqlite_database: SqliteDatabase) -> None:
        refusal = PermissionRefused("not you")

        def refuse(_tx: Tx) -> None:
            raise refusal

        with pytest.raises(PermissionRefused) as raised:
            Blocking(sqlite_database, actor="ana").write(refuse)
        assert raised.value is refusal


def keep(tx: Tx, address: str, refusal: PermissionRefused) -> PolicyRefused:
    events.append(tx, "test.refused", "thing/1", {"because": refusal.message})
    return PolicyRefused(f"asked at {address}")
