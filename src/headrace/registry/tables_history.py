"""Statements on the history of stages: pages of it, and what was in production at a moment."""

from datetime import datetime

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.registry import tables
from headrace.registry.nouns import Stage, StageChange


def known(tx: Tx, model: str) -> bool:
    """Whether a version of a model of this name was ever moved."""
    table = tables.stage_history
    query = sa.select(table.c.event_seq).where(table.c.workspace == tx.workspace, table.c.model == model)
    return tx.execute(query.limit(1)).first() is not None


def last_until(tx: Tx, model: str, moment: datetime | None) -> int | None:
    """The last move, in the order of the record, that bears this time or an earlier one; None for any time."""
    table = tables.stage_history
    query = (
        sa.select(table.c.event_seq)
        .where(table.c.workspace == tx.workspace, table.c.model == model)
        .order_by(table.c.event_seq.desc())
        .limit(1)
    )
    if moment is not None:
        query = query.where(table.c.at <= moment)
    return tx.execute(query).scalar_one_or_none()


def newest_in_production(tx: Tx, model: str, until: int) -> StageChange | None:
    """Of the versions in production after a move, the one that entered last: the move that brought it there."""
    table, later = tables.stage_history, tables.stage_history.alias("later")
    moved_on = sa.exists().where(
        later.c.workspace == table.c.workspace,
        later.c.model == table.c.model,
        later.c.number == table.c.number,
        later.c.event_seq > table.c.event_seq,
        later.c.event_seq <= until,
    )
    query = (
        sa.select(table)
        .where(
            table.c.workspace == tx.workspace,
            table.c.model == model,
            table.c.event_seq <= until,
            table.c.after == Stage.PRODUCTION.value,
            sa.not_(moved_on),
        )
        .order_by(table.c.event_seq.desc())
        .limit(1)
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _change(row)


def newest_out_of_production(tx: Tx, model: str) -> StageChange | None:
    """The last move by which a version of a model left Production."""
    table = tables.stage_history
    query = (
        sa.select(table)
        .where(
            table.c.workspace == tx.workspace,
            table.c.model == model,
            table.c.before == Stage.PRODUCTION.value,
            table.c.after != Stage.PRODUCTION.value,
        )
        .order_by(table.c.event_seq.desc())
        .limit(1)
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _change(row)


def every(tx: Tx, model: str) -> list[StageChange]:
    """All of a model's moves, oldest first."""
    table = tables.stage_history
    query = sa.select(table).where(table.c.workspace == tx.workspace, table.c.model == model)
    return [_change(row) for row in tx.execute(query.order_by(table.c.event_seq)).mappings()]


def page(tx: Tx, model: str, *, until: int, limit: int) -> list[StageChange]:
    """A model's moves up to and with one, newest first."""
    table = tables.stage_history
    query = (
        sa.select(table)
        .where(table.c.workspace == tx.workspace, table.c.model == model, table.c.event_seq <= until)
        .order_by(table.c.event_seq.desc())
        .limit(limit)
    )
    return [_change(row) for row in tx.execute(query).mappings()]


def _change(row: sa.RowMapping) -> StageChange:
    return msgspec.convert({str(name): value for name, value in row.items()}, StageChange)
