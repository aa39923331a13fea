"""What only the embedded database can do to us: full disks, and files that are opened again."""

import threading

import pytest
import sqlalchemy as sa

from headrace.errors import Unavailable
from headrace.kernel import pins, tables
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase


def test_a_full_disk_fails_the_group_and_the_writer_lives_on(sqlite_database: SqliteDatabase) -> None:
    def fill(tx: Tx) -> None:
        pages = tx.execute(sa.text("PRAGMA page_count")).scalar_one()
        tx.execute(sa.text(f"PRAGMA max_page_count = {pages + 1}"))
        for number in range(2000):
            pins.pin(tx, f"run/{number}", "me", "x" * 500)

    database = sqlite_database
    with pytest.raises(Unavailable, match="could not write"):
        database.write(fill, actor="ana")
    assert database.read(lambda tx: pins.pins_on(tx, "run/0")) == []

    database.write(lambda tx: tx.execute(sa.text("PRAGMA max_page_count = 1073741823")), actor="ana")
    database.write(lambda tx: pins.pin(tx, "run/0", "me", "why"), actor="ana")
    assert len(database.read(lambda tx: pins.pins_on(tx, "run/0"))) == 1


def test_what_was_acknowledged_is_there_after_the_file_is_opened_again(
    sqlite_database: SqliteDatabase,
) -> None:
    database = sqlite_database

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
