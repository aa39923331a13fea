"""Retention: rules are recorded, what is older goes from lake and database, and an entity can be forgotten."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.serving.test_feedback import join, kept, prediction, said, take

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.serving import retention
from headrace.serving.retention import HANDLINGS, REMOVE
from headrace.serving.retention_nouns import HANDED_IN, DataClass, Erase, Gone, Keep, Removed, RemoveRequest

pytestmark = pytest.mark.both_databases

DAY = timedelta(days=1)


def keep(database: Database, data_class: DataClass, duration: str, model: str = "") -> None:
    database.write(lambda tx: retention.keep(tx, data_class, Keep(keep=duration, model=model)), actor="root")


def request(database: Database, result: Removed) -> RemoveRequest:
    """What the worker is asked, and its answer."""
    job = database.write(lambda tx: jobs.claim(tx, "worker", [REMOVE.name]), actor="system")
    assert job is not None
    built = msgspec.to_builtins(result)
    database.write(lambda tx: jobs.settle(tx, HANDLINGS[0], job.id, job.lease or "", built), actor="system")
    return msgspec.json.decode(job.payload, type=RemoveRequest)


def told(database: Database, kind: str) -> list[dict[str, Any]]:
    return [event.payload for event in database.read(lambda tx: events.after(tx, 0, types=[kind]))]


def test_rules_are_kept_replaced_and_dropped(database: Database) -> None:
    keep(database, DataClass.PREDICTIONS, "90d")
    keep(database, DataClass.PREDICTIONS, "30d", "churn")
    keep(database, DataClass.PREDICTIONS, "60d")
    found = database.read(retention.rules)
    assert [(rule.model, rule.keep, rule.set_by) for rule in found] == [
        ("", "60d", "root"),
        ("churn", "30d", "root"),
    ]
    database.write(lambda tx: retention.keep_for_ever(tx, DataClass.PREDICTIONS, "churn"), actor="root")
    assert len(database.read(retention.rules)) == 1
    with pytest.raises(NotFound):
        database.write(lambda tx: retention.keep_for_ever(tx, DataClass.FEEDBACK), actor="root")
    with pytest.raises(InvalidInput):
        keep(database, DataClass.FEEDBACK, "soon")
    with pytest.raises(InvalidInput):
        keep(database, DataClass.FEEDBACK, "0d")
    assert [event["keep"] for event in told(database, "serving.retention_set")] == ["90d", "30d", "60d"]


def test_a_worker_is_asked_once_an_hour_where_there_are_rules(database: Database, clock: ManualClock) -> None:
    assert not database.read(retention.is_due)
    keep(database, DataClass.PREDICTIONS, "90d")
    assert database.read(retention.is_due)
    database.write(retention.ask, actor="system")
    assert not database.read(retention.is_due)
    (expiry,) = request(database, Removed()).expiries
    assert expiry.before == clock.now() - 90 * DAY
    assert told(database, "serving.rows_expired") == []
    clock.advance(timedelta(hours=1))
    assert database.read(retention.is_due)


def test_old_feedback_goes_from_the_database_by_its_models_rule(database: Database, clock: ManualClock) -> None:
    take(database, said(1), said(1, of="prd_2"), said(1, of="prd_3"))
    join(database, prd_1=prediction(), prd_2=prediction(model="other"))
    clock.advance(10 * DAY)
    take(database, said(1, of="prd_4"))
    keep(database, DataClass.FEEDBACK, "5d")
    keep(database, DataClass.FEEDBACK, "20d", "other")
    database.write(retention.ask, actor="system")
    request(database, Removed(gone=(Gone(data_class=DataClass.FEEDBACK, model="churn", rows=1),)))
    left = [number for number in range(1, 5) if kept(database, f"prd_{number}")]
    assert left == [2, 4]
    (event,) = told(database, "serving.rows_expired")
    assert event["feedback"] == 2
    assert event["gone"] == [{"data_class": "feedback", "model": "churn", "rows": 1, "segments": 0}]


def test_an_erased_entity_is_recorded_without_its_value(database: Database, clock: ManualClock) -> None:
    take(database, said(1), said(2, of="prd_2"))
    database.write(lambda tx: retention.erase(tx, Erase(key="customer_id", value="Ana Q")), actor="root")
    clock.advance(HANDED_IN)
    asked = request(database, Removed(prediction_ids=("prd_1",)))
    assert asked.entity == '{"customer_id":"Ana Q"}'
    assert kept(database) == []
    assert len(kept(database, "prd_2")) == 1
    assert "Ana" not in str(told(database, "serving.erasure_requested") + told(database, "serving.entity_erased"))
    (files,) = [job for job in database.read(jobs.recent) if job.state == "queued"]
    assert files.not_before == clock.now() + retention.FILES_AFTER
    assert told(database, "serving.entity_erased") == [{"gone": [], "feedback": 1}]


def test_an_erasure_goes_on_until_nothing_may_be_left(database: Database, clock: ManualClock) -> None:
    take(database, said(1))
    asked_at = clock.now()
    database.write(lambda tx: retention.erase(tx, Erase(key="customer_id", value=7)), actor="root")
    # What was just answered may still be in a gateway's memory, where the worker cannot see it.
    assert database.write(lambda tx: jobs.claim(tx, "worker", [REMOVE.name]), actor="system") is None
    clock.advance(HANDED_IN)
    first = request(database, Removed(prediction_ids=("prd_1",), unfinished=True))
    assert (first.told, first.asked_at) == ((), asked_at)
    assert kept(database) == []  # forgotten before the predictions go, which alone tell whose it was
    second = request(database, Removed(prediction_ids=("prd_1",), unfinished=True))  # a segment is open still
    assert (second.told, second.entity) == (("prd_1",), first.entity)
    assert len(told(database, "serving.entity_erased")) == 1
    clock.advance(retention.SEGMENTS_AFTER)
    request(database, Removed())
    assert len(told(database, "serving.entity_erased")) == 2
    (files,) = [job for job in database.read(jobs.recent) if job.state == "queued"]
    assert files.not_before == clock.now() + retention.FILES_AFTER


def test_what_holds_up_an_erasure_is_told_once(database: Database, clock: ManualClock) -> None:
    database.write(lambda tx: retention.erase(tx, Erase(key="customer_id", value=7)), actor="root")
    clock.advance(HANDED_IN)
    held = ("gateway-1/churn/9.refused",)
    request(database, Removed(unfinished=True, held=held))
    clock.advance(retention.LONG_OPEN)
    assert request(database, Removed(unfinished=True, held=held)).held == held
    assert told(database, "serving.erasure_held_up") == [{"files": list(held)}]
    assert told(database, "serving.entity_erased") == []
    clock.advance(retention.LONG_OPEN)
    request(database, Removed())
    assert len(told(database, "serving.entity_erased")) == 1
