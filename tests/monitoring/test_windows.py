"""Schedules follow what is in production; settled windows are kept and reach the alerts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import headrace as hr
from headrace.errors import NotFound
from headrace.kernel import business_time, events, jobs, schedules
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.kernel.sqlite import SqliteDatabase
from headrace.kernel.subscriptions import advance, enroll
from headrace.monitoring import tables, windows
from headrace.monitoring.jobs import WINDOW
from headrace.monitoring.nouns import AlertState, Finding, Health, WindowRequest, WindowResult
from headrace.registry import models, register, stages
from headrace.registry.governed import Grounds
from headrace.registry.nouns import ModelFile, RegisterVersion, Stage

MONTHLY, DAILY = "0 0 1 * *", "0 0 * * *"
Declare = Callable[..., dict[str, Any]]


def write(database: SqliteDatabase, work: Callable[[Tx], Any]) -> Any:
    return database.write(work, actor="ana")


def register_churn(tx: Tx, run: str) -> None:
    file = ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1)
    register.register_version(tx, RegisterVersion(model="churn", run_id=run, files=(file,)))


@pytest.fixture
def churn(database: SqliteDatabase, declaration: Declare) -> SqliteDatabase:
    def work(tx: Tx) -> None:
        business_time.move(tx, datetime(1997, 8, 1, tzinfo=UTC))
        monitors = [hr.drift(), hr.quality(every=DAILY), hr.performance("roc_auc")]
        models.declare(tx, "churn", declaration(monitors))
        register_churn(tx, "r1")
        register_churn(tx, "r2")
        enroll(tx, windows.SUBSCRIBERS)

    write(database, work)
    return database


def settle_bells(database: SqliteDatabase) -> None:
    (subscriber,) = windows.SUBSCRIBERS
    while write(database, lambda tx: advance(tx, subscriber)):
        pass


def watched(database: SqliteDatabase) -> set[str]:
    found: set[str] = database.read(lambda tx: tables.watched_crons(tx, "churn"))
    return found


def move(database: SqliteDatabase, number: int, stage: Stage) -> None:
    def work(tx: Tx) -> None:
        stages.transition(tx, "churn", number, stage, archive_existing=True, grounds=Grounds(release_id="rel_1"))

    write(database, work)
    settle_bells(database)


def fire(database: SqliteDatabase, to: datetime) -> list[Job]:
    write(database, lambda tx: business_time.move(tx, to))
    write(database, lambda tx: schedules.fire_due(tx, {WINDOW.name: WINDOW}))  # type: ignore[dict-item]
    return list(reversed(database.read(jobs.recent)))


def result(end: datetime, *findings: Finding, cron: str = MONTHLY) -> WindowResult:
    return WindowResult(
        model="churn",
        cron=cron,
        start=end - timedelta(days=31),
        end=end,
        version=1,
        predictions=100,
        faults=0,
        labels_joined=0,
        findings=findings,
    )


def alarm(health: Health = Health.ALARM) -> Finding:
    return Finding(monitor="drift", name="drift", health=health, summary="it moved", rows=100)


def test_a_model_is_watched_while_a_version_is_in_production(churn: SqliteDatabase) -> None:
    move(churn, 1, Stage.STAGING)
    assert watched(churn) == set()
    move(churn, 1, Stage.PRODUCTION)
    assert watched(churn) == {MONTHLY, DAILY}
    move(churn, 1, Stage.ARCHIVED)
    assert watched(churn) == set()
    assert fire(churn, datetime(1997, 10, 1, tzinfo=UTC)) == []


def test_each_missed_window_is_asked_for_in_order(churn: SqliteDatabase) -> None:
    move(churn, 1, Stage.PRODUCTION)
    found = [job for job in fire(churn, datetime(1997, 11, 1, tzinfo=UTC)) if MONTHLY in str(job.key)]
    assert [job.scheduled_for for job in found] == [datetime(1997, month, 1, tzinfo=UTC) for month in (9, 10, 11)]


def test_a_new_version_in_production_loses_no_firing(churn: SqliteDatabase) -> None:
    move(churn, 1, Stage.PRODUCTION)
    write(churn, lambda tx: business_time.move(tx, datetime(1997, 9, 1, tzinfo=UTC)))
    move(churn, 2, Stage.PRODUCTION)
    found = [job for job in fire(churn, datetime(1997, 9, 2, tzinfo=UTC)) if MONTHLY in str(job.key)]
    assert [job.scheduled_for for job in found] == [datetime(1997, 9, 1, tzinfo=UTC)]


def test_a_changed_declaration_changes_the_schedules(churn: SqliteDatabase, declaration: Declare) -> None:
    move(churn, 1, Stage.PRODUCTION)
    write(churn, lambda tx: models.declare(tx, "churn", declaration([hr.drift(every="0 0 * * 1")])))
    settle_bells(churn)
    assert watched(churn) == {"0 0 * * 1"}
    write(churn, lambda tx: models.archive(tx, "churn", "gone"))
    settle_bells(churn)
    assert watched(churn) == set()


def test_a_model_of_another_door_is_not_watched(database: SqliteDatabase) -> None:
    def work(tx: Tx) -> None:
        models.create(tx, "churn")
        register_churn(tx, "r1")
        stages.transition(tx, "churn", 1, Stage.PRODUCTION)
        windows.watch(tx, "churn")

    write(database, work)
    assert watched(database) == set()


def settle(database: SqliteDatabase, found: WindowResult) -> None:
    def work(tx: Tx) -> None:
        job = jobs.get(tx, jobs.enqueue(tx, WINDOW, WindowRequest(model="churn", cron=found.cron)))
        windows.settle(tx, job, found)

    write(database, work)


def test_a_window_is_kept_with_one_event_and_opens_the_alert(churn: SqliteDatabase) -> None:
    end = datetime(1997, 9, 1, tzinfo=UTC)
    settle(churn, result(end, alarm()))
    (window,) = churn.read(lambda tx: windows.listing(tx, model="churn"))
    assert window.result == result(end, alarm())
    recorded = churn.read(lambda tx: events.after(tx, 0, types=["monitoring.window_observed"]))
    assert [event.payload["findings"] for event in recorded] == [{"drift": "ALARM"}]
    (alert,) = churn.read(lambda tx: tables.list_alerts(tx, model="churn", state=AlertState.OPEN, limit=9))
    assert (alert.window_start, alert.window_end) == (end - timedelta(days=31), end)


def test_looking_again_replaces_the_window_and_leaves_the_alerts_alone(churn: SqliteDatabase) -> None:
    september, october = datetime(1997, 9, 1, tzinfo=UTC), datetime(1997, 10, 1, tzinfo=UTC)
    settle(churn, result(october, alarm(Health.HEALTHY)))
    settle(churn, result(september, alarm()))
    settle(churn, result(september, alarm(Health.HEALTHY)))
    found = churn.read(lambda tx: windows.listing(tx, model="churn"))
    assert [window.result.end for window in found] == [october, september]
    assert found[1].result.findings[0].health is Health.HEALTHY
    assert churn.read(lambda tx: tables.list_alerts(tx, model=None, state=None, limit=9)) == []


def test_a_window_that_could_not_be_looked_at_is_inconclusive(churn: SqliteDatabase) -> None:
    move(churn, 1, Stage.PRODUCTION)
    job = next(job for job in fire(churn, datetime(1997, 9, 1, tzinfo=UTC)) if MONTHLY in str(job.key))
    failed = windows.WINDOW_HANDLING.failed
    assert failed is not None
    write(churn, lambda tx: failed(tx, job, "UNAVAILABLE: no gateway\n  Wait."))
    (window,) = churn.read(lambda tx: windows.listing(tx, model="churn"))
    assert [(finding.name, finding.health) for finding in window.result.findings] == [
        ("drift", Health.INCONCLUSIVE),
        ("performance:roc_auc", Health.INCONCLUSIVE),
    ]
    assert window.result.findings[0].summary == "the window could not be looked at: UNAVAILABLE: no gateway"
    assert window.result.start == datetime(1997, 8, 1, tzinfo=UTC)


def test_listing_continues_before_a_moment_and_knows_its_models(churn: SqliteDatabase) -> None:
    ends = [datetime(1997, month, 1, tzinfo=UTC) for month in (9, 10, 11)]
    for end in ends:
        settle(churn, result(end))
    found = churn.read(lambda tx: windows.listing(tx, before=ends[2], limit=1))
    assert [window.result.end for window in found] == [ends[1]]
    with pytest.raises(NotFound):
        churn.read(lambda tx: windows.listing(tx, model="nobody"))
