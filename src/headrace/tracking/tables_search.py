"""Statements that search for runs."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.kernel.schema import Instant
from headrace.tracking import tables
from headrace.tracking.nouns import Condition, Order, Run
from headrace.tracking.readings import to_sortable
from headrace.tracking.tables_runs import assemble

Position = tuple[int | None, datetime, int]
"""Where a page ended: sortable metric value or None, start time, run number."""


def list_runs(
    tx: Tx,
    *,
    numbers: Sequence[int] | None,
    conditions: Iterable[Condition],
    order: Order,
    deleted: bool | None,
    limit: int,
    after: Position | None,
) -> tuple[tuple[Run, ...], Position | None]:
    """A page of runs of some experiments.

    Args:
        numbers: of the experiments; None for all of them.
        after: where the page before ended: (sortable metric value or None, start time, run number).

    Returns:
        The tables.runs, and where this page ended when another follows.
    """
    query = sa.select(tables.runs).where(tables.runs.c.workspace == tx.workspace)
    if numbers is not None:
        query = query.where(tables.runs.c.experiment.in_(numbers))
    query = tables.with_deletion(query, tables.runs.c.deleted_at, deleted=deleted)
    for condition in conditions:
        query = query.where(_term(condition))
    value: Any = sa.null()
    if order.metric is not None:
        joined = tables.runs.outerjoin(
            tables.series, sa.and_(tables.series.c.run == tables.runs.c.number, tables.series.c.key == order.metric)
        )
        value = sa.type_coerce(tables.series.c.last_value, sa.BigInteger)
        query = query.select_from(joined).add_columns(value.label("order_value"))
    query = _after(query, value, order, after).limit(limit + 1)
    rows = tx.execute(query).all()
    page = rows[:limit]
    ended = None
    if len(rows) > limit:
        last = page[-1]
        ended = (last.order_value if order.metric is not None else None, last.started_at, last.number)
    return tuple(assemble(tx, page)), ended


def _after(query: Any, value: Any, order: Order, after: Position | None) -> Any:
    """Sort by metric (absent last), start time and number, and skip what comes up to `after`."""
    ascending = order.ascending and order.metric is None
    time = (tables.runs.c.started_at, tables.runs.c.number)
    sorting = [column.asc() if ascending else column.desc() for column in time]
    if after is not None:
        here, there = (
            sa.tuple_(*time),
            sa.tuple_(sa.literal(after[1], Instant), sa.literal(after[2], tables.NUMBER)),
        )
        behind = here > there if ascending else here < there
        if order.metric is not None and after[0] is not None:
            farther = value > after[0] if order.ascending else value < after[0]
            behind = sa.or_(farther, value.is_(None), sa.and_(value == after[0], behind))
        elif order.metric is not None:
            behind = sa.and_(value.is_(None), behind)
        query = query.where(behind)
    if order.metric is not None:
        by_value = value.asc() if order.ascending else value.desc()
        return query.order_by(value.is_(None), by_value, *sorting)
    return query.order_by(*sorting)


_ATTRIBUTES: dict[str, Any] = {
    "run_id": tables.runs.c.id,
    "name": tables.runs.c.name,
    "status": tables.runs.c.status,
    "user": tables.runs.c.user,
    "started_at": tables.runs.c.started_at,
    "ended_at": tables.runs.c.ended_at,
}


def _compare(column: Any, comparator: str, value: Any) -> Any:
    return {
        "=": column == value,
        "!=": column != value,
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }[comparator]


def _term(condition: Condition) -> Any:
    """One condition as SQL. What a run does not have never matches, not even `!=`."""
    if condition.kind == "attribute":
        return _compare(_ATTRIBUTES[condition.key], condition.comparator, condition.value)
    if condition.kind == "metric":
        found = sa.select(tables.series.c.run).where(
            tables.series.c.key == condition.key,
            _compare_reading(condition.comparator, float(str(condition.value))),
        )
        return tables.runs.c.number.in_(found)
    table = tables.params if condition.kind == "param" else tables.tags
    found = sa.select(table.c.run).where(
        table.c.key == condition.key, _compare(table.c.value, condition.comparator, condition.value)
    )
    return tables.runs.c.number.in_(found)


def _compare_reading(comparator: str, number: float) -> Any:
    """Compare numbers by their codes: the two zeros are one number, and NaN is neither above nor below."""
    column = sa.type_coerce(tables.series.c.last_value, sa.BigInteger)
    low, high = (to_sortable(-0.0), to_sortable(0.0)) if number == 0 else (to_sortable(number),) * 2
    infinity = to_sortable(float("inf"))
    return {
        "=": column.between(low, high),
        "!=": sa.or_(column < low, column > high),
        "<": column < low,
        "<=": column <= high,
        ">": sa.and_(column > high, column <= infinity),
        ">=": sa.and_(column >= low, column <= infinity),
    }[comparator]
