"""Control's background loops: what fails is tried again and holds up nothing else."""

import pytest

from headrace.kernel import events, subscriptions
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.kernel.sqlite import SqliteDatabase
from headrace.kernel.subscriptions import Subscriber
from headrace.server.loops import looks, rest_s


def test_an_event_that_cannot_be_handled_holds_up_none_before_it(database: SqliteDatabase) -> None:
    def handle(tx: Tx, event: Event) -> None:
        if event.subject == "poison":
            raise RuntimeError("cannot be handled")
        events.append(tx, "test.effect_made", event.subject, {})

    subscriber = Subscriber("test", ("test.asked",), handle)
    database.write(lambda tx: subscriptions.enroll(tx, [subscriber]), actor="system")
    for subject in ("a", "b", "poison", "c"):
        database.write(lambda tx, name=subject: events.append(tx, "test.asked", name, {}), actor="ana")  # type: ignore[misc]
    look = looks([subscriber], {}, [])[0]
    refused = 0
    for _ in range(8):
        assert database.read(look.needed)
        try:
            database.write(look.do, actor="system")
        except RuntimeError:
            refused += 1
    made = database.read(lambda tx: events.after(tx, 0, types=["test.effect_made"]))
    assert [event.subject for event in made] == ["a", "b"]
    assert refused >= 3
    with pytest.raises(RuntimeError):  # and it is never skipped in silence
        database.write(look.do, actor="system")


def test_what_takes_long_is_done_less_often() -> None:
    assert rest_s(0.25, 0.01) == 0.25
    assert rest_s(0.25, 2.0) >= 4.0  # never more than a third of the time
