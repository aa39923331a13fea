"""One alert for one deviation, one message for one transition."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.errors import NotFound
from headrace.kernel import events, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.monitoring import alerts, tables
from headrace.monitoring.nouns import Alert, AlertState, Delivered, Finding, Health, WindowResult

FIRST = datetime(1997, 9, 1, tzinfo=UTC)


def write(database: SqliteDatabase, work: Callable[[Tx], Any]) -> Any:
    return database.write(work, actor="ana")


def see(
    database: SqliteDatabase,
    health: Health,
    month: int = 0,
    *,
    name: str = "drift",
    model: str = "churn",
    channels: tuple[str, ...] = ("ops",),
) -> Alert | None:
    end = FIRST + timedelta(days=31 * month)
    window = WindowResult(
        model=model,
        cron="0 0 1 * *",
        start=end - timedelta(days=31),
        end=end,
        version=3,
        predictions=100,
        faults=0,
        labels_joined=0,
    )
    finding = Finding(monitor="drift", name=name, health=health, summary=f"window {month}", rows=100)
    found: Alert | None = write(database, lambda tx: alerts.observe(tx, window, finding, channels))
    return found


def recorded(database: SqliteDatabase) -> list[str]:
    return [event.type for event in database.read(lambda tx: events.after(tx, 0))]


def messages(database: SqliteDatabase) -> int:
    return len(database.read(jobs.recent))


def test_a_deviation_opens_once_and_continues(database: SqliteDatabase) -> None:
    first = see(database, Health.ALARM, 0)
    again = see(database, Health.ALARM, 1)
    assert first is not None
    assert again is not None
    assert first.id == again.id
    assert (again.windows, again.window_end) == (2, FIRST)
    assert again.last_window_end == FIRST + timedelta(days=31)
    assert recorded(database) == ["monitoring.alert_opened"]
    assert messages(database) == 1


def test_it_reopens_only_after_recovery(database: SqliteDatabase, clock: ManualClock) -> None:
    first = see(database, Health.ALARM, 0)
    closed = see(database, Health.HEALTHY, 1)
    assert first is not None
    assert closed is not None
    assert (closed.id, closed.state) == (first.id, AlertState.CLOSED)
    assert closed.closed_window_end == FIRST + timedelta(days=31)
    assert see(database, Health.HEALTHY, 2) is None
    second = see(database, Health.ALARM, 3)
    assert second is not None
    assert second.id != first.id
    opened, ended = "monitoring.alert_opened", "monitoring.alert_closed"
    assert recorded(database) == [opened, ended, opened]
    assert messages(database) == 3
    stored = database.read(lambda tx: tables.list_alerts(tx, model="churn", state=None, limit=9))
    assert {alert.id: alert.state for alert in stored} == {first.id: "closed", second.id: "open"}


def test_an_inconclusive_window_neither_opens_nor_closes(database: SqliteDatabase) -> None:
    assert see(database, Health.INCONCLUSIVE, 0) is None
    opened = see(database, Health.ALARM, 1)
    assert see(database, Health.INCONCLUSIVE, 2) == opened
    assert recorded(database) == ["monitoring.alert_opened"]


def test_alerts_of_other_monitors_and_models_are_their_own(database: SqliteDatabase) -> None:
    found = [
        see(database, Health.ALARM, 0, name="drift"),
        see(database, Health.ALARM, 0, name="quality"),
        see(database, Health.ALARM, 0, model="fraud"),
    ]
    assert len({alert.id for alert in found if alert is not None}) == 3


def test_the_event_names_the_window_and_what_was_found(database: SqliteDatabase) -> None:
    alert = see(database, Health.ALARM)
    assert alert is not None
    (event,) = database.read(lambda tx: events.after(tx, 0))
    assert event.subject == f"alert/{alert.id}"
    assert event.payload == {
        "alert_id": alert.id,
        "model": "churn",
        "monitor": "drift",
        "name": "drift",
        "version": 3,
        "window_start": "1997-08-01T00:00:00Z",
        "window_end": "1997-09-01T00:00:00Z",
        "summary": "window 0",
    }


def test_each_channel_is_told_once_and_its_delivery_is_kept(database: SqliteDatabase) -> None:
    alert = see(database, Health.ALARM, channels=("ops", "data", "ops"))
    assert alert is not None
    queued = {job.key: job for job in database.read(jobs.recent)}
    assert set(queued) == {f"notify/{alert.id}/opened/{channel}" for channel in ("ops", "data")}
    handling = alerts.NOTIFY_HANDLING
    assert handling.failed is not None
    good, bad = (queued[f"notify/{alert.id}/opened/{channel}"] for channel in ("ops", "data"))
    write(database, lambda tx: handling.settle(tx, good, Delivered(channel="ops")))
    write(database, lambda tx: handling.failed(tx, bad, "it did not answer"))  # type: ignore[misc]
    found = database.read(lambda tx: alerts.details(tx, alert.id))
    assert {(delivery.channel, delivery.state, delivery.reason) for delivery in found.deliveries} == {
        ("ops", "delivered", ""),
        ("data", "failed", "it did not answer"),
    }
    assert recorded(database) == ["monitoring.alert_opened", "monitoring.message_delivered"]


def test_an_unknown_alert_is_not_found(database: SqliteDatabase) -> None:
    with pytest.raises(NotFound):
        database.read(lambda tx: alerts.details(tx, "alert_0"))
