"""Business time: the clock of windows, label maturity and cron, which a replay may move on its own.

It is one control row, so that every process tells the same time. Without the row it is wall time.
"""

from datetime import datetime

import msgspec
import sqlalchemy as sa

from headrace.errors import InvalidInput
from headrace.kernel import events, tables
from headrace.kernel.database import Tx, insert


class BusinessClock(msgspec.Struct, frozen=True, kw_only=True):
    """What the business clock says, and whether a replay moves it.

    Attributes:
        now: business time, UTC.
        replayed: False while it simply follows wall time.
    """

    now: datetime
    replayed: bool


def read(tx: Tx) -> BusinessClock:
    """The business clock of this workspace."""
    row = tx.execute(
        sa.select(tables.business_clock.c.at).where(tables.business_clock.c.workspace == tx.workspace)
    ).first()
    return BusinessClock(now=row.at, replayed=True) if row else BusinessClock(now=tx.now, replayed=False)


def business_now(tx: Tx) -> datetime:
    """Business time of this workspace, UTC."""
    return read(tx).now


def why_nothing_matures(clock: BusinessClock, ahead: int = 0) -> str:
    """What the clock has to do with it that something does not become due, for people; nothing while it goes on.

    Args:
        clock: of now.
        ahead: how many of those that wait are dated after now, since the clock was set back.
    """
    if not ahead and not clock.replayed:
        return ""
    stands = "business time is replayed and stands at" if clock.replayed else "the clock was set back: it is"
    told = f"{stands} {clock.now:%Y-%m-%d %H:%M}"
    if ahead:
        return f"{told}, which is before {ahead:,} of them: those wait until it is past them"
    return f"{told}: nothing becomes due until it is moved on (headrace clock)"


def move(tx: Tx, to: datetime) -> BusinessClock:
    """Set the business clock, which a replay does; it never runs backwards.

    Raises:
        InvalidInput: `to` is naive or lies before the present business time of a replay.
    """
    if to.tzinfo is None:
        raise InvalidInput("a business time needs a time zone", where="to", fix="Write 1997-08-01T00:00:00Z.")
    present = read(tx)
    if present.replayed and to < present.now:
        raise InvalidInput(
            f"business time is {present.now:%Y-%m-%d %H:%M} and does not run backwards",
            where="to",
            fix="Start a replay of an earlier period in a fresh home.",
        )
    if present.replayed and to == present.now:
        return present
    statement = insert(tx, tables.business_clock).values(workspace=tx.workspace, at=to, moved_at=tx.now)
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace"], set_={"at": to, "moved_at": tx.now}))
    was = present.now if present.replayed else None
    events.append(tx, "kernel.clock_moved", "clock/business", {"was": was, "to": to})
    return BusinessClock(now=to, replayed=True)
