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


def test_what_the_clock_has_to_do_with_it_is_said_where_it_has() -> None:
    said = business_time.why_nothing_matures
    replayed = business_time.BusinessClock(now=AUGUST, replayed=True)
    assert said(replayed) == (
        "business time is replayed and stands at 1997-08-01 00:00: nothing becomes due until it is moved on "
        "(headrace clock)"
    )
    assert "1997-08-01 00:00, which is before 1,200 of them" in said(replayed, 1200)
    wall = business_time.BusinessClock(now=AUGUST, replayed=False)
    assert said(wall) == ""
    assert said(wall, 3).startswith("the clock was set back: it is 1997-08-01 00:00, which is before 3 of them")
