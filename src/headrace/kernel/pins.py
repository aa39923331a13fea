"""Pins: how a higher room keeps a lower one from deleting what it still needs."""

import msgspec
import sqlalchemy as sa

from headrace.errors import Pinned
from headrace.kernel import tables
from headrace.kernel.database import Tx, insert


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A resource and who needs it.

    Attributes:
        resource: for example `lake/sources/purchases@3`, `blob/sha256:…`, `run/<id>`.
        holder: for example `version/churn/2`.
    """

    resource: str
    holder: str
    reason: str


def pin(tx: Tx, resource: str, holder: str, reason: str) -> None:
    """Keep `resource` from deletion for as long as `holder` holds it; again is no change."""
    statement = insert(tx, tables.pins).values(
        workspace=tx.workspace, resource=resource, holder=holder, reason=reason, pinned_at=tx.now
    )
    tx.execute(statement.on_conflict_do_nothing(index_elements=["workspace", "resource", "holder"]))


def release(tx: Tx, holder: str) -> int:
    """Let go of everything that `holder` holds; returns how many pins that were."""
    result = tx.execute(
        tables.pins.delete().where(tables.pins.c.workspace == tx.workspace, tables.pins.c.holder == holder)
    )
    return result.rowcount


def hand_over(tx: Tx, before: str, after: str) -> None:
    """What `before` holds is held by `after`, which is the same holder under another name."""
    mine = sa.and_(tables.pins.c.workspace == tx.workspace, tables.pins.c.holder == before)
    tx.execute(sa.update(tables.pins).where(mine).values(holder=after))


def pins_on(tx: Tx, resource: str) -> list[Pin]:
    """Who holds `resource`, by holder."""
    rows = tx.execute(
        sa.select(tables.pins)
        .where(tables.pins.c.workspace == tx.workspace, tables.pins.c.resource == resource)
        .order_by(tables.pins.c.holder)
    )
    return [Pin(resource=row.resource, holder=row.holder, reason=row.reason) for row in rows]


def require_unpinned(tx: Tx, resource: str) -> None:
    """Refuse a deletion that somebody still needs.

    Raises:
        Pinned: names the first holders and their reasons.
    """
    found = pins_on(tx, resource)
    if found:
        holders = "; ".join(f"{pin.holder} ({pin.reason})" for pin in found[:3])
        raise Pinned(
            f"it is still needed by {holders}",
            where=resource,
            fix="Archive or delete the holder first.",
        )
