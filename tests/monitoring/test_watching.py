"""Schedule, worker and settling together: months go by, the data move, and one alert opens."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

import headrace as hr
from headrace.errors import Pinned
from headrace.kernel import business_time, events, jobs, pins, schedules
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.kernel.sqlite import SqliteDatabase
from headrace.kernel.subscriptions import advance, enroll
from headrace.monitoring import alerts, windows
from headrace.monitoring.jobs import WINDOW
from headrace.monitoring.nouns import WindowRequest
from headrace.monitoring.observe import run_window
from headrace.registry import models, register, stages
from headrace.registry.governed import Grounds
from headrace.registry.nouns import ModelFile, RegisterVersion, Stage

MONITORS = [hr.drift()]
HANDLINGS = {handling.kind.name: handling for handling in windows.HANDLINGS}


def first_of(month: int) -> datetime:
    return datetime(1997, month, 1, tzinfo=UTC)


def put_in_production(tx: Tx, declaration: dict[str, Any]) -> None:
    business_time.move(tx, first_of(8))
    enroll(tx, windows.SUBSCRIBERS)
    models.declare(tx, "churn", declaration)
    file = ModelFile(path="MLmodel", digest="sha256:" + "c" * 64, size_bytes=1)
    register.register_version(tx, RegisterVersion(model="churn", run_id="r1", files=(file,)))
    stages.transition(tx, "churn", 1, Stage.PRODUCTION, grounds=Grounds(release_id="rel_1"))


def hand_in(database: SqliteDatabase, job: Job, result: Any) -> None:
    handling = HANDLINGS[job.kind]
    database.write(lambda tx: jobs.settle(tx, handling, job.id, str(job.lease), result), actor="system")


def work(database: SqliteDatabase, bench: Any) -> None:
    """Do every window job that is due, as a worker and control would."""
    while (job := database.write(lambda tx: jobs.claim(tx, "worker", [WINDOW.name]), actor="system")) is not None:
        request = msgspec.json.decode(job.payload, type=WindowRequest)
        hand_in(database, job, msgspec.to_builtins(run_window(bench.context(end=job.scheduled_for), request)))


def move_to(database: SqliteDatabase, moment: datetime) -> None:
    kinds: Any = {WINDOW.name: WINDOW}
    database.write(lambda tx: business_time.move(tx, moment), actor="system")
    database.write(lambda tx: schedules.fire_due(tx, kinds), actor="system")


def test_a_drift_opens_one_alert_and_recovers(
    database: SqliteDatabase, bench: Any, declaration: Callable[..., dict[str, Any]]
) -> None:
    bench.put_model(MONITORS)
    database.write(lambda tx: put_in_production(tx, declaration(MONITORS)), actor="ana")
    (subscriber,) = windows.SUBSCRIBERS
    database.write(lambda tx: advance(tx, subscriber), actor="system")
    generator = np.random.default_rng(3)
    shift_by_month = {8: 0, 9: 60, 10: 60, 11: 0}
    for month, shift in shift_by_month.items():
        recency = (generator.uniform(0, 100, size=300) + shift).tolist()
        bench.predict(range(300), first_of(month) + timedelta(days=3), recency=recency)
        bench.put_source({}, first_of(month + 1))
        move_to(database, first_of(month + 1))
        work(database, bench)
    found = database.read(windows.listing)
    assert [window.result.findings[0].health for window in found] == ["HEALTHY", "ALARM", "ALARM", "HEALTHY"]
    counts = found[0].result.counts
    with pytest.raises(Pinned):
        database.read(lambda tx: pins.require_unpinned(tx, f"blob/{counts}"))
    told = database.read(
        lambda tx: events.after(tx, 0, types=["monitoring.alert_opened", "monitoring.alert_closed"])
    )
    assert [(event.type.rpartition("_")[2], event.payload["window_end"]) for event in told] == [
        ("opened", "1997-10-01T00:00:00Z"),
        ("closed", "1997-12-01T00:00:00Z"),
    ]
    assert {event.actor for event in told} == {"system"}
    details = database.read(lambda tx: alerts.details(tx, told[0].payload["alert_id"]))
    assert (details.alert.windows, len(details.deliveries)) == (2, 2)
