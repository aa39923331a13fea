"""Reading a metric's history: all of its points, a page of them at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from headrace.kernel.database import Tx
from headrace.kernel.schema import from_microseconds
from headrace.tracking import keys, runs, tables_metrics
from headrace.tracking.nouns import MetricPage, MetricPoint, reading
from headrace.tracking.readings import from_sortables

PAGE_LIMIT = 1_000_000


class Points(NamedTuple):
    """Points of a metric by step, time and value, as three columns of the same length.

    Attributes:
        times: microseconds since 1970.
        cursor: of the next page; empty on the last one.
    """

    steps: Sequence[int]
    times: Sequence[int]
    values: Sequence[float]
    cursor: str = ""


class _Position(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a page ended; the time in microseconds, the value as its sortable code."""

    step: int
    at: int
    value: int


def read(tx: Tx, run_id: str, key: str, *, limit: int = 25_000, cursor: str = "") -> Points:
    """The points of a metric; a metric that was never logged has none.

    Raises:
        NotFound: there is no such run.
        InvalidInput: the limit or the cursor is not one.
    """
    run = runs.require(tx, run_id)
    keys.check_limit(limit, PAGE_LIMIT)
    after = keys.read_cursor(cursor, _Position) if cursor else None
    found = tables_metrics.read_points(
        tx, run.number, key, limit=limit + 1, after=(after.step, after.at, after.value) if after else None
    )
    following = ""
    if len(found) > limit:
        found = found[:limit]
        step, at, code = found[-1]
        following = keys.write_cursor(_Position(step=step, at=at, value=code))
    if not found:
        return Points((), (), ())
    steps, times, codes = zip(*found, strict=True)
    return Points(steps, times, from_sortables(codes), following)


def page(tx: Tx, run_id: str, key: str, *, limit: int = 25_000, cursor: str = "") -> MetricPage:
    """`read` as records."""
    found = read(tx, run_id, key, limit=limit, cursor=cursor)
    points = tuple(
        MetricPoint(key=key, value=reading(value), step=step, at=from_microseconds(at))
        for step, at, value in zip(found.steps, found.times, found.values, strict=True)
    )
    return MetricPage(points=points, next_cursor=found.cursor)
