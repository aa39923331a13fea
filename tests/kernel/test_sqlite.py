"""The embedded database: durability of an acknowledged write, isolation of works in a group, full disks."""

import threading
from concurrent.futures import wait
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.errors import InternalError, Unavailable
from headrace.kernel import events, pins, tables
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase


def test_a_failing_work_leaves_nothing_and_does_not_touch_its_group(database: SqliteDatabase) -> None:
    gate = threading.Event()

    def hold(tx: Tx) -> None:
        gate.wait(5)

    def broken(tx: Tx) -> None:
        events.append(tx, "test.thing_made", "thing/broken", {})
        raise RuntimeError("no")

    first = database.submit(hold, actor="ana")
    good = database.submit(lambda tx: events.append(tx, "test.thing_made", "thing/1", {}), actor="ana")
    bad = database.submit(broken, actor="ana")
    later = database.submit(lambda tx: events.append(tx, "test.thing_made", "thing/2", {}), actor="ana")
    gate.set()
    for future in (first, good, bad, later):
        wait([future], timeout=5)  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="no"):
        bad.result()
    assert [event.subject for event in database.read(lambda tx: events.after(tx, 0))] == [
        "thing/1",
        "thing/2",
    ]
    assert [event.seq for event in database.read(lambda tx: events.after(tx, 0))] == [1, 2]


def test_callbacks_run_after_the_commit_and_not_after_a_rollback(database: SqliteDatabase) -> None:
    rung: list[int] = []

    def ring(tx: Tx) -> None:
        pins.pin(tx, "run/1", "version/churn/1", "registered")
        tx.on_commit(lambda: rung.append(len(database.read(lambda tx: pins.pins_on(tx, "run/1")))))

    def broken(tx: Tx) -> None:
        tx.on_commit(lambda: rung.append(-1))
        raise RuntimeError

    database.write(ring, actor="ana")
    with pytest.raises(RuntimeError):
        database.write(broken, actor="ana")
    database.write(lambda tx: None, actor="ana")
    assert rung == [1]


def test_a_read_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        database.read(lambda tx: pins.pin(tx, "run/1", "me", "why"))


def test_a_transaction_inside_a_transaction_is_refused_rather_than_hanging(database: SqliteDatabase) -> None:
    with pytest.raises(InternalError, match="inside a transaction"):
        database.write(lambda tx: database.write(lambda inner: None, actor="ana"), actor="ana")


def test_a_full_disk_fails_the_group_and_the_writer_lives_on(tmp_path: Path, database: SqliteDatabase) -> None:
    def fill(tx: Tx) -> None:
        pages = tx.execute(sa.text("PRAGMA page_count")).scalar_one()
        tx.execute(sa.text(f"PRAGMA max_page_count = {pages + 1}"))
        for number in range(2000):
            pins.pin(tx, f"run/{number}", "me", "x" * 500)

    with pytest.raises(Unavailable, match="could not write"):
        database.write(fill, actor="ana")
    assert database.read(lambda tx: pins.pins_on(tx, "run/0")) == []

    database.write(lambda tx: tx.execute(sa.text("PRAGMA max_page_count = 1073741823")), actor="ana")
    database.write(lambda tx: pins.pin(tx, "run/0", "me", "why"), actor="ana")
    assert len(database.read(lambda tx: pins.pins_on(tx, "run/0"))) == 1


def test_what_was_acknowledged_is_there_after_the_file_is_opened_again(
    tmp_path: Path, database: SqliteDatabase
) -> None:
    def one(number: int) -> None:
        database.write(lambda tx: pins.pin(tx, f"run/{number}", "me", "why"), actor="ana")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    again = SqliteDatabase(database.path)
    count = again.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(tables.pins)).scalar_one())
    again.close()
    assert count == 40


def test_a_closed_database_says_so(database: SqliteDatabase) -> None:
    database.close()
    with pytest.raises(Unavailable, match="closed"):
        database.write(lambda tx: None, actor="ana")
