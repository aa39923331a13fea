"""Fixtures that every room's tests share."""

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

import headrace
from headrace.kernel.clocks import ManualClock
from headrace.kernel.schema import metadata
from headrace.kernel.sqlite import SqliteDatabase

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


@pytest.fixture
def database(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteDatabase]:
    """An empty SQLite database with every table."""
    path = tmp_path / "headrace.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    load_tables().create_all(engine)
    engine.dispose()
    database = SqliteDatabase(path, clock=clock, synchronous="NORMAL")
    yield database
    database.close()
