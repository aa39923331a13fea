"""The Database seam on both back ends."""

import pytest

from headrace.kernel.database import Database
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
