"""Opening the metadata database: its schema is brought up to date before anybody reads it."""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from headrace.errors import StartError
from headrace.kernel.clocks import Clock, SystemClock
from headrace.kernel.database import Database
from headrace.kernel.postgresql import PostgresDatabase
from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase

HEAD = "0001"
"""The newest revision; a test holds it against the migration files."""

MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(settings: Settings, *, clock: Clock | None = None) -> Database:
    """Migrate the database that the settings name, and open it.

    Raises:
        StartError: the schema is newer than this program.
    """
    clock = clock or SystemClock()
    if settings.database.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + settings.database.partition("://")[2]
        upgrade(url)
        return PostgresDatabase(settings.database, clock=clock)
    path = settings.database_path
    path.parent.mkdir(parents=True, exist_ok=True)
    upgrade(f"sqlite:///{path}")
    path.chmod(0o600)
    return SqliteDatabase(path, clock=clock, synchronous=settings.synchronous)


def upgrade(url: str) -> None:
    """Bring the schema at a SQLAlchemy URL up to `HEAD`; nothing is imported or written when it is there."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.begin() as connection:
            present = _revision(connection)
            if present == HEAD:
                return
            if present is not None and present > HEAD:
                raise StartError(
                    f"the database has schema {present}, this program knows {HEAD}",
                    where=engine.url.render_as_string(hide_password=True),
                    fix="Start the newer version of headrace that wrote it.",
                )
            _alembic()(connection)
    finally:
        engine.dispose()


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _alembic() -> Callable[[sa.Connection], None]:
    """Alembic's upgrade, imported only when there is something to upgrade."""
    from alembic import command
    from alembic.config import Config

    def run(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    return run
