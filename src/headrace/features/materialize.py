"""Materialization: brings a view's online state up to a version of its source.

The work starts from the position that the store itself remembers, reads only the rows that came since, and
moves the position with them in one transaction. So it may be repeated, killed or run late without harm, and
a store that was lost is filled again from the lake.
"""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import SchemaMismatch
from headrace.features.engine import DataEngine, DuckDBEngine
from headrace.features.frames import events_sql, key_kind, require_key
from headrace.features.nouns import Materialize, Materialized
from headrace.features.online import Key, OnlineStore, Position, open_online_store
from headrace.features.packing import merged
from headrace.features.windows import ViewPlan, plan_view
from headrace.kernel.lake import Lake
from headrace.kernel.schema import to_microseconds
from headrace.kernel.work import WorkContext

BATCH_KEYS = 10_000


def run_materialize(context: WorkContext, payload: Materialize) -> Materialized:
    """The runner of the job features.materialize."""
    with (
        closing(open_online_store(context.settings.home)) as store,
        closing(DuckDBEngine(context.directory / "duckdb")) as engine,
    ):
        return materialize(store, engine, context.lake, payload)


def materialize(store: OnlineStore, engine: DataEngine, lake: Lake, payload: Materialize) -> Materialized:
    """Bring one view up to a version of its source's table; nothing happens when it is there already.

    Raises:
        SchemaMismatch: the source lacks a column, or its key has changed type.
        Conflict: another worker brought the view on meanwhile; trying again is right.
    """
    plan = plan_view(payload.view)
    through_us = to_microseconds(payload.through)
    position = store.read(plan.online_key, ()).position
    if position is not None and position.lake_version >= payload.lake_version and position.through_us >= through_us:
        return Materialized(lake_version=position.lake_version, through=payload.through, entities=0, events=0)
    entity = plan.view.entity
    known = None if position is None else position.lake_version
    added = lake.added(payload.table, known, max(payload.lake_version, known or 0))
    kind = key_kind(added.schema.field(require_key(added.schema, entity, where=f"lake/{payload.table}")).type)
    if kind is None or (position is not None and position.key_kind != kind):
        raise SchemaMismatch("the key has changed its type", where=f"{payload.table}.{entity.key}")
    columns = "".join(f", c{place}" for place in range(len(plan.columns)))
    events = events_sql(entity, added.schema, plan.columns)
    sql = f"WITH events AS ({events}) SELECT key, us{columns} FROM events ORDER BY key, us{columns}"  # noqa: S608
    rows = engine.query(sql, {"source": added})
    reached = Position(
        lake_version=added.version,
        through_us=through_us if position is None else max(through_us, position.through_us),
        key_kind=kind,
    )
    keys, edges = _entities(rows)
    values = _values(store, plan, rows, keys, edges, reached.through_us - plan.longest_us)
    store.write(plan.online_key, position, reached, list(values))
    return Materialized(
        lake_version=added.version, through=payload.through, entities=len(keys), events=rows.num_rows
    )


def _entities(rows: pa.Table) -> tuple[list[Key], NDArray[np.int64]]:
    """The distinct keys of rows sorted by key, and where each one's rows begin; the last edge is the end."""
    if not rows.num_rows:
        return [], np.zeros(1, np.int64)
    column = rows["key"].combine_chunks()
    changes = np.flatnonzero(np.asarray(pc.not_equal(column[1:], column[:-1]))) + 1
    edges = np.concatenate([[0], changes, [len(column)]]).astype(np.int64)
    return column.take(pa.array(edges[:-1])).to_pylist(), edges


def _values(
    store: OnlineStore,
    plan: ViewPlan,
    rows: pa.Table,
    keys: list[Key],
    edges: NDArray[np.int64],
    drop_through_us: int,
) -> Iterator[tuple[Key, bytes]]:
    times = rows["us"].to_numpy()
    columns = [rows[f"c{place}"].to_numpy() for place in range(len(plan.columns))]
    for start in range(0, len(keys), BATCH_KEYS):
        batch = keys[start : start + BATCH_KEYS]
        before = store.read(plan.online_key, batch).values
        for place, (key, packed) in enumerate(zip(batch, before, strict=True), start):
            part = slice(edges[place], edges[place + 1])
            yield key, merged(packed, times[part], [column[part] for column in columns], drop_through_us)
