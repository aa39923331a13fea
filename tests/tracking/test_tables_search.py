"""Searches for runs are served by indexes: SQLite says by which."""

from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.tracking import filters, tables_search, vocabulary


class Explaining:
    """A transaction that keeps the plan of each statement before it runs it."""

    dialect = "sqlite"

    def __init__(self, tx: Tx, plans: list[str]) -> None:
        self._tx = tx
        self._plans = plans

    def execute(self, statement: Any, parameters: dict[str, Any] | None = None) -> sa.CursorResult[Any]:
        compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
        values = {**compiled.params, **(parameters or {})}
        given = tuple(values[name] for name in compiled.positiontup)
        rows = self._tx.execute_driver(f"EXPLAIN QUERY PLAN {compiled}", given).fetchall()
        self._plans.append("; ".join(row[3] for row in rows))
        return self._tx.execute(statement, parameters)


def plans(database: SqliteDatabase, filtered: str, *order_by: str) -> list[str]:
    """How a search for a page of live runs of one experiment goes about it."""
    found: list[str] = []
    search = tables_search.Search(
        experiments=[1],
        deleted=False,
        expression=filters.parse(filtered, vocabulary.RUNS),
        orders=filters.parse_order(order_by, vocabulary.RUNS),
        limit=100,
    )
    database.read(lambda tx: tables_search.find(cast("Tx", Explaining(tx, found)), search, None))
    return found


@pytest.mark.parametrize("kind", ["param", "tag"])
@pytest.mark.parametrize("asked", ["= 'tree'", "IN ('tree', 'forest')", f"= '{'long' * 50}'"])
def test_a_value_is_looked_up(sqlite_database: SqliteDatabase, kind: str, asked: str) -> None:
    (probe,) = plans(sqlite_database, f"{kind}.model {asked} AND metrics.auc != 1")
    assert f"ix_tracking_{kind}s_value (experiment=? AND key=? AND <expr>=?" in probe


@pytest.mark.parametrize(("asked", "range_"), [("> 0.5", ">?"), ("<= 0.5", "<?"), ("= 0.5", ">? AND last_value<?")])
def test_a_metric_is_looked_up(sqlite_database: SqliteDatabase, asked: str, range_: str) -> None:
    (probe,) = plans(sqlite_database, f"metrics.auc {asked}")
    assert f"ix_tracking_series_value (experiment=? AND key=? AND last_value{range_}" in probe


def test_the_newest_come_in_the_order_of_their_index(sqlite_database: SqliteDatabase) -> None:
    (walk,) = plans(sqlite_database, "metrics.auc != 1")
    assert walk.startswith("SEARCH tracking_runs USING INDEX ix_tracking_runs_live (experiment=?)")
    assert "TEMP B-TREE" not in walk


@pytest.mark.parametrize("way", ["ASC", "DESC"])
def test_a_metric_orders_by_its_index(sqlite_database: SqliteDatabase, way: str) -> None:
    numbers, nan, without = plans(sqlite_database, "", f"metrics.auc {way}")
    for walk in (numbers, nan):
        assert "ix_tracking_series_value (experiment=? AND key=?" in walk
    assert walk_is_partly_sorted(numbers)
    assert without.startswith("SEARCH tracking_runs USING INDEX ix_tracking_runs_live")


def walk_is_partly_sorted(plan: str) -> bool:
    """Whether at most what shares a value is sorted."""
    return "B-TREE" not in plan or "B-TREE FOR RIGHT PART" in plan or "B-TREE FOR LAST" in plan
