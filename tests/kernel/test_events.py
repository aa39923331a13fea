"""The record of changes: its order, its questions, and that it is written with the change or not at all."""

from datetime import UTC, datetime

import msgspec
import pytest

from headrace.kernel import events
from headrace.kernel.database import Database, Tx

pytestmark = pytest.mark.both_databases


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    grams: float
    at: datetime


def append(database: Database, type_: str, subject: str, workspace: str = "default") -> events.Event:
    return database.write(
        lambda tx: events.append(tx, type_, subject, {"of": subject}), actor="ana", workspace=workspace
    )


def test_an_event_says_who_did_what_when_and_where(database: Database) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def work(tx: Tx) -> tuple[events.Event, datetime]:
        return events.append(tx, "test.stone_weighed", "stone/1", Weighed(grams=0.1, at=moment)), tx.now

    event, now = database.write(work, actor="ana", workspace="quarry")
    assert (event.seq, event.type, event.subject) == (1, "test.stone_weighed", "stone/1")
    assert (event.actor, event.workspace, event.at) == ("ana", "quarry", now)
    assert event.payload == {"grams": 0.1, "at": "2026-01-01T00:00:00Z"}
    assert database.read(lambda tx: events.after(tx, 0)) == [event]


def test_a_change_that_is_rolled_back_leaves_no_event_and_no_gap(database: Database) -> None:
    def fail(tx: Tx) -> None:
        events.append(tx, "test.stone_laid", "stone/1", {})
        raise RuntimeError

    append(database, "test.stone_laid", "stone/1")
    with pytest.raises(RuntimeError):
        database.write(fail, actor="ana")
    assert append(database, "test.stone_laid", "stone/2").seq == 2


def test_one_transaction_may_change_several_things(database: Database) -> None:
    def work(tx: Tx) -> list[int]:
        return [events.append(tx, "test.stone_laid", f"stone/{number}", {}).seq for number in range(3)]

    assert database.write(work, actor="ana") == [1, 2, 3]


def test_events_are_followed_by_type(database: Database) -> None:
    for subject in ("stone/1", "stone/2", "stone/3"):
        append(database, "test.stone_laid", subject)
        append(database, "test.stone_moved", subject)
    found = database.read(lambda tx: events.after(tx, 1, types=["test.stone_laid"], limit=1))
    assert [event.subject for event in found] == ["stone/2"]
    assert database.read(lambda tx: events.after(tx, 0, types=[])) == []


def test_an_object_has_a_history_and_a_workspace_its_own(database: Database) -> None:
    append(database, "test.stone_laid", "stone/1")
    append(database, "test.stone_laid", "stone/1", workspace="other")
    append(database, "test.stone_moved", "stone/1")
    history = database.read(lambda tx: events.of_subject(tx, "stone/1"))
    assert [event.type for event in history] == ["test.stone_laid", "test.stone_moved"]
    newest = database.read(lambda tx: events.recent(tx, limit=1))
    assert [event.seq for event in newest] == [3]
    assert [event.seq for event in database.read(lambda tx: events.recent(tx, before=3))] == [1]
    assert database.read(events.head) == 3
