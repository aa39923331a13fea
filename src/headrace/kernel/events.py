"""The record of every change of state: one append-only, hash-chained sequence.

The chain covers digests of the payloads rather than the payloads, so that a payload can be erased without
breaking it. `kernel.audit` verifies the chain and signs checkpoints of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.kernel import tables
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.kernel.prepared import Prepared
from headrace.kernel.schema import to_microseconds

GENESIS = "0" * 64
EVENT_VERSION = 1
_SEQUENCE_LOCK = 0x48_45_41_44  # PostgreSQL advisory lock: commit order is sequence order


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state.

    Attributes:
        seq: place in the sequence, from 1, without gaps, in order of commit.
        type: `<room>.<noun>_<past verb>`, for example `registry.version_registered`.
        subject: what changed, for example `version/churn/3`.
        actor: id of the principal who caused it.
        at: wall time, UTC.
        payload: what the type says about the change; empty once erased.
    """

    seq: int
    id: str
    type: str
    version: int
    subject: str
    actor: str
    workspace: str
    at: datetime
    payload: dict[str, Any]


def digest(payload: str) -> str:
    """SHA-256 of the stored text, as hex."""
    return hashlib.sha256(payload.encode()).hexdigest()


def chain(previous: str, header: Sequence[object]) -> str:
    """The hash of a row: SHA-256 over the previous row's hash and this row's header.

    Args:
        previous: hash of the row before, `GENESIS` for the first.
        header: seq, id, type, version, subject, actor, workspace, microseconds since 1970, payload digest.
    """
    return hashlib.sha256(previous.encode() + b"\n" + msgspec.json.encode(header)).hexdigest()


_LAST = Prepared(
    lambda _: sa.select(tables.events.c.seq, tables.events.c.hash).order_by(tables.events.c.seq.desc()).limit(1)
)
_APPEND = Prepared(
    lambda dialect: dialect.insert(tables.events).values(
        {column.name: sa.bindparam(column.name) for column in tables.events.c}
    )
)


def append(tx: Tx, type: str, subject: str, payload: msgspec.Struct | Mapping[str, Any]) -> Event:  # noqa: A002
    """Record one change of state in the transaction that makes it.

    Args:
        tx: the transaction of the change itself.
        type: `<room>.<noun>_<past verb>`.
        subject: the object that changed.
        payload: JSON-able facts about the change; never a secret.
    """
    if tx.dialect == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_SEQUENCE_LOCK)))
    last = _LAST.rows(tx)
    head_seq, previous = last[0] if last else (0, GENESIS)
    seq = head_seq + 1
    text = msgspec.json.encode(payload).decode()
    event_id = new_id("evt")
    text_digest = digest(text)
    header = [
        seq, event_id, type, EVENT_VERSION, subject, tx.actor, tx.workspace, to_microseconds(tx.now), text_digest,
    ]  # fmt: skip
    _APPEND.run(
        tx,
        seq=seq,
        id=event_id,
        type=type,
        version=EVENT_VERSION,
        subject=subject,
        actor=tx.actor,
        workspace=tx.workspace,
        at=to_microseconds(tx.now),
        payload=text,
        payload_digest=text_digest,
        hash=chain(previous, header),
    )
    return Event(
        seq=seq,
        id=event_id,
        type=type,
        version=EVENT_VERSION,
        subject=subject,
        actor=tx.actor,
        workspace=tx.workspace,
        at=tx.now,
        payload=msgspec.json.decode(text),
    )


def head(tx: Tx) -> int:
    """Sequence number of the newest event; 0 when there is none."""
    last = _LAST.rows(tx)
    return int(last[0][0]) if last else 0


def after(tx: Tx, seq: int, *, types: Sequence[str] | None = None, limit: int = 100) -> list[Event]:
    """Events of every workspace after `seq`, oldest first, optionally of some types only."""
    statement = sa.select(tables.events).where(tables.events.c.seq > seq).order_by(tables.events.c.seq).limit(limit)
    if types is not None:
        statement = statement.where(tables.events.c.type.in_(types))
    return [_event(row) for row in tx.execute(statement)]


def of_subject(tx: Tx, subject: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
    """The history of one object in this workspace, oldest first, from after an event on."""
    statement = (
        sa.select(tables.events)
        .where(
            tables.events.c.subject == subject,
            tables.events.c.workspace == tx.workspace,
            tables.events.c.seq > after,
        )
        .order_by(tables.events.c.seq)
        .limit(limit)
    )
    return [_event(row) for row in tx.execute(statement)]


def recent(tx: Tx, *, before: int | None = None, limit: int = 100) -> list[Event]:
    """Events of this workspace, newest first; `before` continues a listing."""
    statement = (
        sa.select(tables.events)
        .where(tables.events.c.workspace == tx.workspace)
        .order_by(tables.events.c.seq.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(tables.events.c.seq < before)
    return [_event(row) for row in tx.execute(statement)]


def _event(row: sa.Row[Any]) -> Event:
    return Event(
        seq=row.seq,
        id=row.id,
        type=row.type,
        version=row.version,
        subject=row.subject,
        actor=row.actor,
        workspace=row.workspace,
        at=row.at,
        payload=msgspec.json.decode(row.payload) if row.payload is not None else {},
    )
