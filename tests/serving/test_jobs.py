"""Settling a compaction leaves one event for what was moved and none for nothing."""

from datetime import timedelta

from tests.serving.test_routing import add_versions

from headrace.kernel import events, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.serving import routing
from headrace.serving.jobs import COMPACT, HANDLINGS, ask_for_compactions, compaction_is_due
from headrace.serving.nouns import Compaction, CompactRequest, RouteChange


def settle(database: Database, result: Compaction) -> None:
    def work(tx: Tx) -> None:
        job = jobs.get(tx, jobs.enqueue(tx, COMPACT, CompactRequest(model="churn")))
        (handling,) = HANDLINGS
        handling.settle(tx, job, result)

    database.write(work, actor="ana")


def test_what_was_moved_is_recorded(database: Database) -> None:
    settle(database, Compaction(model="churn", segments=0, rows=0))
    settle(database, Compaction(model="churn", segments=2, rows=30, unreadable=1))
    (event,) = database.read(lambda tx: events.after(tx, 0, types=["serving.predictions_compacted"]))
    assert event.subject == "model/churn"
    assert (event.payload["segments"], event.payload["rows"], event.payload["unreadable"]) == (2, 30, 1)


def test_what_was_set_aside_is_recorded_though_nothing_was_moved(database: Database) -> None:
    settle(database, Compaction(model="churn", segments=0, rows=0, set_aside=1))
    (event,) = database.read(lambda tx: events.after(tx, 0, types=["serving.predictions_compacted"]))
    assert event.payload["set_aside"] == 1


def test_each_served_model_is_compacted_once_an_hour(database: Database, clock: ManualClock) -> None:
    def due() -> bool:
        return database.read(compaction_is_due)

    assert not due()
    database.write(add_versions, actor="ana")
    database.write(lambda tx: routing.set_route(tx, RouteChange(model="churn", champion=1)), actor="ana")
    for hour in (1, 2):
        assert due()
        for _ in range(2):
            database.write(ask_for_compactions, actor="system")
        assert not due()
        assert len(database.read(jobs.recent)) == hour
        clock.advance(timedelta(hours=1))
