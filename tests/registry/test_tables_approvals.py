"""What every move and every look of a loop asks is found by an index: SQLite says by which."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from headrace.delivery import tables as delivery
from headrace.delivery.machine import Phase
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import tables, tables_approvals


class Explaining:
    """A transaction that keeps the plan of each statement before it runs it."""

    dialect = "sqlite"
    workspace = "default"

    def __init__(self, tx: Tx, plans: list[str]) -> None:
        self._tx = tx
        self._plans = plans
        self.now = tx.now

    def execute(self, statement: Any) -> sa.CursorResult[Any]:
        compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
        processed = {
            name: compiled._bind_processors[name](value) if name in compiled._bind_processors else value
            for name, value in compiled.params.items()
        }
        given = tuple(processed[name] for name in compiled.positiontup)
        rows = self._tx.execute_driver(f"EXPLAIN QUERY PLAN {compiled}", given).fetchall()
        self._plans.append("; ".join(row[3] for row in rows))
        return self._tx.execute(statement)


@pytest.mark.parametrize(
    ("ask", "looked_up"),
    [
        (lambda tx: tables_approvals.list_decisions(tx, ["apr_1"]), "workspace=? AND approval_id=?"),
        (lambda tx: tables_approvals.standing_decisions_of(tx, "bo"), "workspace=? AND principal=?"),
        (lambda tx: tables_approvals.waiting_of_release(tx, "rel_1"), "workspace=? AND release_id=?"),
        (tables_approvals.workspaces_with_due, "status=? AND due_at<?"),
        (lambda tx: tables_approvals.newest_approval(tx, "m", 1, "d", "t"), "model=? AND number=?"),
        (lambda tx: tables.list_evidence(tx, "m", 1), "model=? AND number=?"),
        (lambda tx: delivery.ids_in_phases(tx, (Phase.COOLING,)), "is_open=?"),
        (lambda tx: delivery.open_release(tx, "m"), "is_open=? AND workspace=? AND model=?"),
        (lambda tx: delivery.pipeline_of_version(tx, "m", 1), "workspace=? AND model=? AND number=?"),
    ],
)
def test_it_is_looked_up(sqlite_database: SqliteDatabase, ask: Callable[[Tx], object], looked_up: str) -> None:
    plans: list[str] = []
    sqlite_database.read(lambda tx: ask(cast("Tx", Explaining(tx, plans))))
    assert all(looked_up in plan for plan in plans)
