"""Prepared statements do on both databases what SQLAlchemy's own do, and fail as they do."""

import pytest
import sqlalchemy as sa

from headrace.errors import InvalidInput
from headrace.kernel import tables
from headrace.kernel.database import Database, Tx
from headrace.kernel.prepared import InsertMany, Prepared, UpdateMany

pytestmark = pytest.mark.both_databases

COLUMNS = ("workspace", "resource", "holder", "reason", "pinned_at")
ADD = InsertMany(tables.pins, COLUMNS)
KEEP = InsertMany(tables.pins, COLUMNS, keep_existing=True)
REPLACE = InsertMany(tables.pins, COLUMNS, replaced=("reason",))
MOVE = UpdateMany(tables.pins, ("reason", "pinned_at"), "holder")
FIND = Prepared(
    lambda dialect: (
        sa.select(tables.pins.c.holder, tables.pins.c.reason, tables.pins.c.pinned_at)
        .where(tables.pins.c.workspace == "default", dialect.among(tables.pins.c.holder, "holders"))
        .order_by(tables.pins.c.pinned_at, tables.pins.c.holder)
    )
)


def row(holder: str, reason: str = "why", at: int = 0) -> tuple[object, ...]:
    return ("default", "blob/x", holder, reason, at)


def found(database: Database, *holders: str) -> list[tuple[object, ...]]:
    return [tuple(each) for each in database.read(lambda tx: FIND.rows(tx, holders=list(holders)))]


def test_rows_by_the_thousand(database: Database) -> None:
    rows = [row(f"h{number}", at=number) for number in range(1_234)]
    database.write(lambda tx: ADD.run(tx, rows), actor="ana")
    database.write(lambda tx: ADD.run(tx, []), actor="ana")
    holders = [f"h{number}" for number in range(5_000)]
    assert found(database, *holders) == [(f"h{number}", "why", number) for number in range(1_234)]
    database.write(lambda tx: MOVE.run(tx, [("new", 7, f"h{number}") for number in range(1_234)]), actor="ana")
    assert {each[1:] for each in found(database, *holders)} == {("new", 7)}
    assert found(database) == []


def test_what_is_there_already(database: Database) -> None:
    database.write(lambda tx: ADD.run(tx, [row("ä'\"%s ?", "first")]), actor="ana")
    database.write(lambda tx: KEEP.run(tx, [row("ä'\"%s ?", "second"), row("other")]), actor="ana")
    assert found(database, "ä'\"%s ?", "other") == [("other", "why", 0), ("ä'\"%s ?", "first", 0)]
    database.write(lambda tx: REPLACE.run(tx, [row("other", "third")]), actor="ana")
    assert found(database, "other") == [("other", "third", 0)]
    with pytest.raises(sa.exc.IntegrityError):
        database.write(lambda tx: ADD.run(tx, [row("fresh"), row("other")]), actor="ana")
    assert found(database, "fresh") == []


@pytest.mark.parametrize("bad", [row("big", at=2**70), row("\udc80")])
def test_what_no_column_holds_is_the_callers_mistake(database: Database, bad: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput):
        database.write(lambda tx: ADD.run(tx, [bad]), actor="ana")

    def both(tx: Tx) -> None:
        ADD.run(tx, [row("kept")])

    database.write(both, actor="ana")
    assert found(database, "kept") == [("kept", "why", 0)]
