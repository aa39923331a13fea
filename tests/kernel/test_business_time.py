"""Business time follows wall time until a replay moves it, and then only forward."""

from datetime import UTC, datetime, timedelta

import pytest

from headrace.errors import InvalidInput
from headrace.kernel import business_time, events
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database

pytestmark = pytest.mark.both_databases

AUGUST = datetime(1997, 8, 1, tzinfo=UTC)


def test_it_follows_wall_time_until_moved(database: Database, clock: ManualClock) -> None:
    assert database.read(business_time.business_now) == clock.now()
    database.write(lambda tx: business_time.move(tx, AUGUST), actor="ana")
    clock.advance(timedelta(days=1))
    assert database.read(business_time.business_now) == AUGUST
    (event,) = database.read(lambda tx: events.after(tx, 0))
    assert event.type == "kernel.clock_moved"
    assert event.payload == {"was": None, "to": "1997-08-01T00:00:00Z"}


def test_it_never_runs_backwards_and_standing_still_is_no_event(database: Database) -> None:
    database.write(lambda tx: business_time.move(tx, AUGUST), actor="ana")
    database.write(lambda tx: business_time.move(tx, AUGUST), actor="ana")
    with pytest.raises(InvalidInput, match="backwards"):
        database.write(lambda tx: business_time.move(tx, AUGUST - timedelta(days=1)), actor="ana")
    assert len(database.read(lambda tx: events.after(tx, 0))) == 1


def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        database.write(lambda tx: business_time.move(tx, datetime(1997, 8, 1)), actor="ana")  # noqa: DTZ001
