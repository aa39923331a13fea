"""The migrations make the schema that the code declares, on both databases."""

import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from headrace.errors import StartError
from headrace.kernel import events, migrate
from headrace.kernel.postgresql import sqlalchemy_url
from headrace.kernel.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLAlchemy's URL of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    address = sqlalchemy_url(request.getfixturevalue("empty_postgresql"))
    return address.render_as_string(hide_password=False)


def test_the_migrations_make_what_the_tables_declare(empty_url: str, every_table: sa.MetaData) -> None:
    migrate.upgrade(empty_url)
    engine = sa.create_engine(empty_url, poolclass=sa.pool.NullPool)
    catalog = "sqlite_master WHERE type = 'index'" if engine.dialect.name == "sqlite" else "pg_indexes"
    column = "name" if engine.dialect.name == "sqlite" else "indexname"
    with engine.connect() as connection, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expression-based index")  # SQLite's are told by name alone
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, every_table) == []
        made = set(connection.exec_driver_sql(f"SELECT {column} FROM {catalog}").scalars())
    assert {index.name for table in every_table.tables.values() for index in table.indexes} <= made


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrate.MIGRATIONS)).get_current_head() == migrate.HEAD


def test_an_upgraded_database_is_left_alone(empty_url: str) -> None:
    for _ in range(2):
        migrate.upgrade(empty_url)


def test_a_newer_schema_is_refused_and_left_alone(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    engine = sa.create_engine(empty_url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartError, match="newer version"):
        migrate.upgrade(empty_url)


def test_a_home_gets_a_database_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    for expected in (1, 2):
        database = migrate.open_database(settings)
        assert database.write(lambda tx: events.append(tx, "test.made", "thing/1", {}), actor="ana").seq == expected
        database.close()
    assert settings.database_path.stat().st_mode & 0o077 == 0


def test_a_url_opens_postgresql(empty_postgresql: str) -> None:
    database = migrate.open_database(Settings(database=empty_postgresql))
    assert database.read(lambda tx: (tx.dialect, events.head(tx))) == ("postgresql", 0)
    database.close()
