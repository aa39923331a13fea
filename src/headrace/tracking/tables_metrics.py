"""Statements on metrics: series, their points, and metrics of logged models."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.prepared import InsertMany, Prepared, UpdateMany
from headrace.tracking import tables
from headrace.tracking.nouns import MetricPoint, ModelMetric, reading
from headrace.tracking.tables_runs import chunks


class Series(NamedTuple):
    """A metric of a run as it is stored: times in microseconds since 1970, values as sortable codes.

    Attributes:
        last: (step, at, value) of the latest point.
        lowest: (value, step) of the lowest number and the first step that reached it; None while only NaN was seen.
        highest: likewise of the highest.
    """

    number: int
    last: tuple[int, int, int]
    lowest: tuple[int, int] | None
    highest: tuple[int, int] | None

    def row(self) -> tuple[int | None, ...]:
        """The values of SERIES_STATE."""
        return (*self.last, *(self.lowest or (None, None)), *(self.highest or (None, None)))


SERIES_STATE = ("last_step", "last_at", "last_value", "min_value", "min_step", "max_value", "max_step")

_SERIES = Prepared(
    lambda dialect: sa.select(
        tables.series.c.key, tables.series.c.number, *(tables.series.c[name] for name in SERIES_STATE)
    ).where(tables.series.c.run == sa.bindparam("run"), dialect.among(tables.series.c.key, "keys"))
)
_ADD_SERIES = InsertMany(tables.series, ("run", "experiment", "key", "workspace", *SERIES_STATE))
_MOVE_SERIES = UpdateMany(tables.series, SERIES_STATE, "number")
_ADD_POINTS = InsertMany(tables.points, ("series", "step", "at", "value", "workspace"), keep_existing=True)


def find_series(tx: Tx, run: int, keys: Sequence[str]) -> dict[str, Series]:
    """Those of the metrics of a run that have points."""
    found = {}
    for key, number, step, at, value, low, low_step, high, high_step in _SERIES.rows(tx, run=run, keys=list(keys)):
        lowest = None if low is None else (low, low_step)
        highest = None if high is None else (high, high_step)
        found[key] = Series(number, (step, at, value), lowest, highest)
    return found


def add_series(tx: Tx, run: int, experiment: int, fresh: Mapping[str, Series]) -> None:
    """Insert metrics that the run did not have; the database gives their numbers."""
    _ADD_SERIES.run(tx, [(run, experiment, key, tx.workspace, *each.row()) for key, each in fresh.items()])


def move_series(tx: Tx, moved: Iterable[Series]) -> None:
    """Set what is kept of metrics beside their points."""
    _MOVE_SERIES.run(tx, [(*each.row(), each.number) for each in moved])


def add_points(tx: Tx, found: Iterable[tuple[int, Iterable[tuple[int, int, int]]]]) -> None:
    """Insert points, (step, at, value) by the number of their series; one that is there already stays one."""
    workspace = tx.workspace
    _ADD_POINTS.run(
        tx, [(number, step, at, value, workspace) for number, points in found for step, at, value in points]
    )


_POINT = (
    tables.points.c.step,
    sa.type_coerce(tables.points.c.at, sa.BigInteger),
    sa.type_coerce(tables.points.c.value, sa.BigInteger),
)
_HISTORY = (
    sa.select(*_POINT)
    .join(tables.series, tables.series.c.number == tables.points.c.series)
    .where(tables.series.c.run == sa.bindparam("run"), tables.series.c.key == sa.bindparam("key"))
    .order_by(tables.points.c.step, tables.points.c.at, tables.points.c.value)
    .limit(sa.bindparam("limit", type_=sa.BigInteger))
)
_FIRST_POINTS = Prepared(lambda _: _HISTORY)
_NEXT_POINTS = Prepared(
    lambda _: _HISTORY.where(
        sa.tuple_(*_POINT)
        > sa.tuple_(*(sa.bindparam(name, type_=sa.BigInteger) for name in ("step", "at", "value")))
    )
)


def read_points(
    tx: Tx, run: int, key: str, *, limit: int, after: tuple[int, int, int] | None = None
) -> Sequence[Any]:
    """A metric's (step, microseconds since 1970, sortable value) in this order, from after the given one on."""
    if after is None:
        return _FIRST_POINTS.rows(tx, run=run, key=key, limit=limit)
    step, at, value = after
    return _NEXT_POINTS.rows(tx, run=run, key=key, limit=limit, step=step, at=at, value=value)


def add_model_metrics(tx: Tx, run: int, found: Iterable[MetricPoint], arrived_at: datetime) -> None:
    """Record the points of a run that were measured on logged models."""
    rows = [
        {
            "model_id": point.model_id,
            "key": point.key,
            "run": run,
            "step": point.step,
            "at": point.at or arrived_at,
            "value": point.number,
            "workspace": tx.workspace,
            "dataset_name": point.dataset_name,
            "dataset_digest": point.dataset_digest,
        }
        for point in found
        if point.model_id is not None
    ]
    if rows:
        tx.execute(insert(tx, tables.model_metrics).on_conflict_do_nothing(), rows)


def read_model_metrics(tx: Tx, model_ids: Sequence[str]) -> dict[str, list[ModelMetric]]:
    """The points of logged models by key, step and time."""
    found: dict[str, list[ModelMetric]] = {model_id: [] for model_id in model_ids}
    table = tables.model_metrics
    for chunk in chunks(model_ids):
        query = (
            sa.select(table, tables.runs.c.id.label("run_id"))
            .join(tables.runs, tables.runs.c.number == table.c.run)
            .where(table.c.model_id.in_(chunk))
            .order_by(table.c.model_id, table.c.key, table.c.step, table.c.at)
        )
        for row in tx.execute(query):
            point = MetricPoint(
                key=row.key,
                value=reading(row.value),
                step=row.step,
                at=row.at,
                model_id=row.model_id,
                dataset_name=row.dataset_name,
                dataset_digest=row.dataset_digest,
            )
            found[row.model_id].append(ModelMetric(run_id=row.run_id, point=point))
    return found
