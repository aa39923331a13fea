"""Statements that search for runs.

A search takes one of three ways. Where a comparison that must hold is rare, the few runs of it are fetched by its
index and sorted. Where results are ordered by start time or by one metric, the index of that order is walked until
the page is full. Everything else is sorted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from headrace.kernel.database import Tx
from headrace.tracking import tables, tables_paging
from headrace.tracking.cursors import Position
from headrace.tracking.expressions import Comparison, Expression, Order, conjuncts
from headrace.tracking.readings import NAN
from headrace.tracking.stored_runs import RUN_COLUMNS
from headrace.tracking.tables_matching import Condition, condition, instant, member, reading, text
from headrace.tracking.tables_paging import Key, check_position, sorted_after

RARE = 2_000
"""How many runs a comparison may match for them to be fetched and sorted rather than an order walked."""

Row = Sequence[Any]


def _plain(kind: Any) -> Any:
    return kind.impl_instance if isinstance(kind, sa.types.TypeDecorator) else kind


_RUNS = tables.runs
_COLUMNS = sa.select(
    *(sa.type_coerce(_RUNS.c[name], _plain(_RUNS.c[name].type)).label(name) for name in RUN_COLUMNS)
)
_INSTANTS = frozenset({"started_at", "ended_at"})
_LOGGED = {"metric": tables.series, "param": tables.params, "tag": tables.tags}
_AGGREGATES = {"last": "last_value", "min": "min_value", "max": "max_value"}


class Search(NamedTuple):
    """What is looked for.

    Attributes:
        experiments: their numbers.
        deleted: False for live runs, True for deleted ones, None for both.
        expression: of what a run must be, without "best".
        orders: by what they are sorted, without "best".
        limit: how many are wanted.
    """

    experiments: Sequence[int]
    deleted: bool | None
    expression: Expression
    orders: tuple[Order, ...]
    limit: int


def find(tx: Tx, search: Search, after: Position | None) -> tuple[list[Row], Position | None]:
    """A page of runs as rows of RUN_COLUMNS, and where it ended when another follows."""
    if not search.experiments:
        return [], None
    rare = _rare(tx, search)
    if rare is not None and not rare.runs:
        return [], None
    wanted = search._replace(limit=search.limit + 1)
    by_metric = (
        len(search.orders) == 1
        and search.orders[0].kind == "metric"
        and search.orders[0].aggregate == "last"
        and len(search.experiments) == 1
    )
    walked = rare is None and by_metric
    found = _walk_metric(tx, wanted, after) if walked else _sorted(tx, wanted, rare, after)
    width = len(RUN_COLUMNS)
    page = [row[:width] for row in found[: search.limit]]
    ended = tuple(found[search.limit - 1][width:]) if len(found) > search.limit else None
    return page, ended


class Rare(NamedTuple):
    """A comparison that few runs match: how many, and the query of their numbers."""

    runs: int
    numbers: sa.Select[Any]


def _rare(tx: Tx, search: Search) -> Rare | None:
    """The rarest comparison that must hold and that an index serves; None when none is rare."""
    rarest: Rare | None = None
    for part in conjuncts(search.expression):
        probe = _probe(part, search.experiments, tx.dialect) if isinstance(part, Comparison) else None
        if probe is None:
            continue
        some = probe.limit(RARE + 1).subquery()
        count = int(tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())
        if count <= RARE and (rarest is None or count < rarest.runs):
            rarest = Rare(count, probe)
            if count <= RARE // 20:
                break
    return rarest


def _probe(found: Comparison, experiments: Sequence[int], dialect: str) -> sa.Select[Any] | None:
    """The numbers of the runs that a comparison matches, when an index finds them."""
    if found.kind == "attribute" and found.key == "id" and found.comparator in {"=", "IN"}:
        return sa.select(_RUNS.c.number).where(text(_RUNS.c.id, found, dialect))
    if found.kind == "metric" and found.aggregate == "last" and found.comparator in {"=", "<", "<=", ">", ">="}:
        series = tables.series
        return sa.select(series.c.run).where(
            series.c.experiment.in_(experiments), series.c.key == found.key, reading(series.c.last_value, found)
        )
    if found.kind in {"param", "tag"} and found.comparator in {"=", "IN"}:
        table = _LOGGED[found.kind]
        values = found.value if isinstance(found.value, tuple) else (str(found.value),)
        head = sa.func.substr(table.c.value, sa.literal_column("1"), sa.literal_column(str(tables.INDEXED)))
        # concat: a column that is set equal to a constant is replaced by it in the head too, and the index lost
        exact = any(len(value) >= tables.INDEXED for value in values)
        return sa.select(table.c.run).where(
            table.c.experiment.in_(experiments),
            table.c.key == found.key,
            head.in_([value[: tables.INDEXED] for value in values]),
            table.c.value.concat("").in_(values) if exact else sa.true(),
        )
    return None


def _walk_metric(tx: Tx, search: Search, after: Position | None) -> list[Row]:
    """Runs by the latest value of a metric: the numbers, then NaN, then those without it, each by its own index."""
    order = search.orders[0]
    series = tables.series
    if after is not None:
        check_position(after, [int] * 4)
    phase = int(after[0]) if after else 0
    code = sa.type_coerce(series.c.last_value, sa.BigInteger)
    found: list[Row] = []
    of_metric = (
        _scoped(search, tx.dialect)
        .join(series, series.c.run == _RUNS.c.number)
        .where(series.c.experiment == search.experiments[0], series.c.key == order.key)
    )
    without = _scoped(search, tx.dialect).where(
        ~sa.exists().where(series.c.run == _RUNS.c.number, series.c.key == order.key)
    )
    for at, query in enumerate((of_metric.where(code < NAN), of_metric.where(code == NAN), without)):
        if at < phase or len(found) >= search.limit:
            continue
        newest = _newest()
        keys = newest if query is without else [Key(code, order.ascending), *newest]
        value = sa.literal_column("0") if query is without else code
        shown = [sa.literal_column(str(at)), value, *(key.value for key in newest)]  # as `_sorted` has them
        position = after[-len(keys) :] if after and at == phase else None
        paged = sorted_after(query.add_columns(*shown), keys, position).limit(search.limit - len(found))
        found += tx.execute(paged).all()
    return found


def _newest() -> list[Key]:
    return [*tables_paging.numbers(_RUNS.c.started_at, ascending=False), Key(_RUNS.c.number, ascending=False)]


def _sorted(tx: Tx, search: Search, rare: Rare | None, after: Position | None) -> list[Row]:
    query = _scoped(search, tx.dialect, named=rare is not None and rare.runs <= RARE // 4)
    if rare is not None and tx.dialect == "postgresql":  # an array is looked up first, whatever it would rather do
        numbers = sa.func.array(rare.numbers.scalar_subquery(), type_=postgresql.ARRAY(sa.BigInteger))
        query = query.where(sa.type_coerce(_RUNS.c.number, sa.BigInteger) == sa.any_(numbers))
    elif rare is not None:
        query = query.where(_RUNS.c.number.in_(rare.numbers))
    keys: list[Key] = []
    for order in search.orders:
        if order.kind == "attribute":
            keys += _attribute_keys(order, tx.dialect)
        else:
            table = _LOGGED[order.kind].alias()
            query = query.outerjoin(table, sa.and_(table.c.run == _RUNS.c.number, table.c.key == order.key))
            keys += _logged_keys(order, table, tx.dialect)
    keys += _newest()
    query = query.add_columns(*(key.value for key in keys))
    return list(tx.execute(sorted_after(query, keys, after).limit(search.limit)).all())


def _attribute_keys(order: Order, dialect: str) -> list[Key]:
    """What sorts by an attribute; all but the end of a run are always there."""
    column = attribute(order.key)
    if order.key in _INSTANTS:
        return tables_paging.numbers(column, ascending=order.ascending, nullable=order.key == "ended_at")
    return tables_paging.texts(column, dialect, ascending=order.ascending)


def _logged_keys(order: Order, table: Any, dialect: str) -> list[Key]:
    """What sorts by a metric, a param or a tag."""
    if order.kind == "metric":
        return tables_paging.readings(table.c[_AGGREGATES[order.aggregate]], ascending=order.ascending)
    return tables_paging.texts(table.c.value, dialect, ascending=order.ascending, nullable=True)


def _scoped(search: Search, dialect: str, *, named: bool = False) -> sa.Select[Any]:
    """The runs that are looked for, in no order; `named` where they are found by their numbers."""
    one = len(search.experiments) == 1
    # SQLite, which knows no counts, would walk the whole experiment: adding 0 keeps it from that index
    experiment = _RUNS.c.experiment + 0 if named and dialect == "sqlite" else _RUNS.c.experiment
    within = experiment == search.experiments[0] if one else experiment.in_(search.experiments)
    query = tables.with_deletion(_COLUMNS.where(within), _RUNS.c.deleted_at, deleted=search.deleted)
    return query.where(condition(search.expression, lambda found: _term(found, dialect)))


def attribute(key: str) -> Any:
    """The column of an attribute of a run."""
    if key == "artifact_uri":
        experiment = sa.cast(_RUNS.c.experiment, sa.Text)
        through_us = sa.literal("mlflow-artifacts:/") + experiment + "/" + _RUNS.c.id + "/artifacts"
        return sa.func.coalesce(_RUNS.c.artifact_uri, through_us)
    return _RUNS.c[key]


def _term(found: Comparison, dialect: str) -> Condition:
    """One comparison of a run."""
    if found.kind == "attribute":
        column = attribute(found.key)
        return instant(column, found) if found.key in _INSTANTS else text(column, found, dialect)
    if found.kind == "dataset":
        return _dataset(found, dialect)
    table = _LOGGED[found.kind]
    absent = found.comparator == "IS NULL"
    positive = found if not absent else Comparison(kind=found.kind, key=found.key, comparator="IS NOT NULL")
    if found.kind == "metric":
        compared = reading(table.c[_AGGREGATES[found.aggregate]], positive)
    else:
        compared = text(table.c.value, positive, dialect)
    there = sa.exists().where(table.c.run == _RUNS.c.number, table.c.key == found.key, compared).correlate(_RUNS)
    return ~there if absent else there


def _dataset(found: Comparison, dialect: str) -> Condition:
    """Whether a run read a dataset of which it holds; its context is a tag of the input."""
    inputs, datasets = tables.dataset_inputs, tables.datasets
    if found.key == "context":
        context = member(inputs.c.tags, "mlflow.data.context", dialect)
        return sa.exists().where(inputs.c.run == _RUNS.c.number, text(context, found, dialect)).correlate(_RUNS)
    return sa.exists().where(
        inputs.c.run == _RUNS.c.number,
        datasets.c.number == inputs.c.dataset,
        text(datasets.c[found.key], found, dialect),
    )
