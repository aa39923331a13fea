"""Statements on metrics: series, their points, and metrics of logged models."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Instant
from headrace.tracking import tables
from headrace.tracking.nouns import MetricPoint, ModelMetric, reading
from headrace.tracking.tables_runs import chunks


def find_series(tx: Tx, run: int, keys: Sequence[str]) -> dict[str, tuple[int, tuple[int, datetime, float]]]:
    """The number and the latest (step, at, value) of those of the metrics that have points."""
    found = {}
    for chunk in chunks(keys):
        query = sa.select(tables.series).where(tables.series.c.run == run, tables.series.c.key.in_(chunk))
        for row in tx.execute(query):
            found[row.key] = (row.number, (row.last_step, row.last_at, row.last_value))
    return found


def put_series(tx: Tx, run: int, latest: dict[str, tuple[int, datetime, float]]) -> None:
    """Set the latest (step, at, value) of metrics."""
    rows = [
        {
            "run": run,
            "key": key,
            "workspace": tx.workspace,
            "last_step": step,
            "last_at": at,
            "last_value": value,
        }
        for key, (step, at, value) in latest.items()
    ]
    if rows:
        statement = insert(tx, tables.series)
        names = ("last_step", "last_at", "last_value")
        replaced = {name: statement.excluded[name] for name in names}
        tx.execute(statement.on_conflict_do_update(index_elements=["run", "key"], set_=replaced), rows)


def add_points(tx: Tx, found: Iterable[tuple[int, int, datetime, float]]) -> None:
    """Insert points as (tables.series, step, at, value); one that is there already stays one."""
    rows = [
        {"series": number, "step": step, "at": at, "value": value, "workspace": tx.workspace}
        for number, step, at, value in found
    ]
    if rows:
        tx.execute(insert(tx, tables.points).on_conflict_do_nothing(), rows)


def read_points(
    tx: Tx, run: int, key: str, *, limit: int, after: tuple[int, datetime, int] | None = None
) -> list[MetricPoint]:
    """A metric's points by step, time and value, from after (step, at, sortable value) on."""
    value = sa.type_coerce(tables.points.c.value, sa.BigInteger)
    query = (
        sa.select(tables.points.c.step, tables.points.c.at, tables.points.c.value)
        .join(tables.series, tables.series.c.number == tables.points.c.series)
        .where(tables.series.c.run == run, tables.series.c.key == key)
        .order_by(tables.points.c.step, tables.points.c.at, tables.points.c.value)
        .limit(limit)
    )
    if after is not None:
        edge = (
            sa.literal(after[0], sa.BigInteger),
            sa.literal(after[1], Instant),
            sa.literal(after[2], sa.BigInteger),
        )
        query = query.where(sa.tuple_(tables.points.c.step, tables.points.c.at, value) > sa.tuple_(*edge))
    return [MetricPoint(key=key, value=reading(row.value), step=row.step, at=row.at) for row in tx.execute(query)]


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
