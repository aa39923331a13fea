"""Bells ring up: a higher room subscribes to events of a lower one, and its effect happens exactly once.

A subscriber's cursor moves in the same transaction as its effect. A handler that raises keeps its cursor where
it is, so the event comes again; it is never skipped in silence.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import sqlalchemy as sa

from headrace.kernel import events, tables
from headrace.kernel.database import DEFAULT_WORKSPACE, Tx, insert
from headrace.kernel.events import Event


class Subscriber(NamedTuple):
    """Who wants to hear of what.

    Attributes:
        name: unique and lasting; the cursor is kept under it.
        types: the event types that `handle` is called for.
        handle: the effect, inside the transaction that moves the cursor.
    """

    name: str
    types: tuple[str, ...]
    handle: Callable[[Tx, Event], None]


def enroll(tx: Tx, subscribers: Iterable[Subscriber]) -> None:
    """Give new subscribers a cursor at the head: they hear of what happens from now on."""
    head = events.head(tx)
    for subscriber in subscribers:
        statement = insert(tx, tables.cursors).values(name=subscriber.name, seq=head, workspace=DEFAULT_WORKSPACE)
        tx.execute(statement.on_conflict_do_nothing(index_elements=["name"]))


def advance(tx: Tx, subscriber: Subscriber, *, limit: int = 50) -> int:
    """Handle the next events of one subscriber and move its cursor; returns how many it handled."""
    cursor = tx.execute(
        sa.select(tables.cursors.c.seq).where(tables.cursors.c.name == subscriber.name).with_for_update()
    ).scalar_one()
    found = events.after(tx, cursor, types=subscriber.types, limit=limit)
    for event in found:
        subscriber.handle(tx.acting_as(event.actor).within(event.workspace), event)
    if found:
        tx.execute(
            tables.cursors.update().where(tables.cursors.c.name == subscriber.name).values(seq=found[-1].seq)
        )
    return len(found)


def behind(tx: Tx, subscriber: Subscriber) -> bool:
    """Whether an event waits for the subscriber; a cheap look before a transaction is opened."""
    cursor = tx.execute(
        sa.select(tables.cursors.c.seq).where(tables.cursors.c.name == subscriber.name)
    ).scalar_one_or_none()
    return cursor is not None and bool(events.after(tx, cursor, types=subscriber.types, limit=1))
