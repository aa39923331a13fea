"""Subscribers hear each event once, in order, and never skip one in silence."""

import pytest

from headrace.kernel import events, subscriptions
from headrace.kernel.database import Database, Tx
from headrace.kernel.events import Event
from headrace.kernel.subscriptions import Subscriber

pytestmark = pytest.mark.both_databases


def say(database: Database, type: str, subject: str, actor: str = "ana") -> None:  # noqa: A002
    database.write(lambda tx: events.append(tx, type, subject, {}), actor=actor)


def test_effects_happen_once_as_the_actor_of_the_event(database: Database) -> None:
    heard: list[tuple[str, str]] = []
    subscriber = Subscriber("test", ("test.a",), lambda tx, event: heard.append((event.subject, tx.actor)))
    say(database, "test.a", "before/enrolment")
    database.write(lambda tx: subscriptions.enroll(tx, [subscriber]), actor="system")
    say(database, "test.a", "a/1")
    say(database, "test.b", "b/1")
    say(database, "test.a", "a/2", actor="ben")
    assert database.read(lambda tx: subscriptions.behind(tx, subscriber))
    assert database.write(lambda tx: subscriptions.advance(tx, subscriber), actor="system") == 2
    assert database.write(lambda tx: subscriptions.advance(tx, subscriber), actor="system") == 0
    assert not database.read(lambda tx: subscriptions.behind(tx, subscriber))
    assert heard == [("a/1", "ana"), ("a/2", "ben")]


def test_a_failing_handler_keeps_its_place_and_undoes_its_effect(database: Database) -> None:
    broken = True

    def handle(tx: Tx, event: Event) -> None:
        events.append(tx, "test.effect_made", event.subject, {})
        if broken:
            raise RuntimeError("not yet")

    subscriber = Subscriber("test", ("test.a",), handle)
    database.write(lambda tx: subscriptions.enroll(tx, [subscriber]), actor="system")
    say(database, "test.a", "a/1")
    with pytest.raises(RuntimeError):
        database.write(lambda tx: subscriptions.advance(tx, subscriber), actor="system")
    broken = False
    assert database.write(lambda tx: subscriptions.advance(tx, subscriber), actor="system") == 1
    assert [event.type for event in database.read(lambda tx: events.after(tx, 0))] == [
        "test.a",
        "test.effect_made",
    ]


def test_enrolling_again_does_not_move_the_cursor(database: Database) -> None:
    subscriber = Subscriber("test", ("test.a",), lambda tx, event: None)
    database.write(lambda tx: subscriptions.enroll(tx, [subscriber]), actor="system")
    say(database, "test.a", "a/1")
    database.write(lambda tx: subscriptions.enroll(tx, [subscriber]), actor="system")
    assert database.write(lambda tx: subscriptions.advance(tx, subscriber), actor="system") == 1
