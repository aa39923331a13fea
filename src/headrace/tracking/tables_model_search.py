"""Statements that search for logged models.

Where a comparison with a metric that must hold matches few values, their models are fetched and sorted. Where the
order is that of one metric and there are many models, the index of its values is walked until the page is full. All
else walks the index of creation, or is sorted. PostgreSQL chooses its indexes by its statistics; SQLite has none,
and is kept from the wrong ones by adding 0 to a column.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.kernel.schema import Instant
from headrace.tracking import tables, tables_models, tables_paging
from headrace.tracking.cursors import Position
from headrace.tracking.expressions import Comparison, Expression, Order, comparisons, conjuncts
from headrace.tracking.nouns import DatasetName, LoggedModel
from headrace.tracking.readings import NAN
from headrace.tracking.tables_matching import Condition, condition, entry, instant, reading, text
from headrace.tracking.tables_paging import Key, check_position, sorted_after

RARE = 500
"""How many measured values may match for their models to be fetched and sorted rather than an order walked."""

FEW = 2_000
"""How many models of an experiment are sorted by a metric rather than the index of its values walked."""


class ModelOrder(NamedTuple):
    """A key that logged models are sorted by; a metric counts as it was measured on `dataset`, if one is named."""

    order: Order
    dataset: DatasetName | None


class ModelSearch(NamedTuple):
    """What is looked for.

    Attributes:
        experiments: their numbers.
        datasets: metrics count only as they were measured on one of these; on any when there are none.
        after: where the page before ended.
    """

    experiments: Sequence[int]
    expression: Expression
    orders: Sequence[ModelOrder]
    datasets: Sequence[DatasetName]
    limit: int
    after: Position | None


def search(tx: Tx, wanted: ModelSearch) -> tuple[list[LoggedModel], Position | None]:
    """A page of live logged models, what is equal in the orders newest first, and where it ended."""
    rare = _rare(tx, wanted)
    rows: Sequence[Any]
    if rare is None and len(wanted.orders) == 1 and wanted.orders[0].order.kind == "metric" and _many(tx, wanted):
        rows, ended = _ranked(tx, wanted)
    else:
        keys = [key for order in wanted.orders for key in _keys(order, tx.dialect)] + _newest(tx.dialect)
        if rare is not None:
            keys[0] = keys[0].unindexed()
        query = _sought(tx, wanted, rare=rare)
        rows, ended = tables_paging.page(tx, query, keys, limit=wanted.limit, after=wanted.after)
    return tables_models.assemble(tx, rows), ended


def _sought(
    tx: Tx, wanted: ModelSearch, *, rare: Sequence[str] | None = None, walked: bool = False
) -> sa.Select[Any]:
    """The models that are looked for, in no order.

    Args:
        tx: the transaction.
        wanted: what is looked for.
        rare: ids that they are among.
        walked: whether they are joined to the index of a metric's values, which then leads.
    """
    table = tables.logged_models
    query = sa.select(table).where(table.c.workspace == tx.workspace, table.c.deleted_at.is_(None))
    led = tx.dialect == "sqlite" and (walked or rare is not None)
    query = query.where(_within(wanted.experiments, table.c.experiment + 0 if led else table.c.experiment))
    if rare is not None:
        query = query.where(table.c.id.in_(rare))
    query = query.where(condition(wanted.expression, lambda found: _term(found, wanted.datasets, tx.dialect)))
    if wanted.datasets and all(found.kind != "metric" for found in comparisons(wanted.expression)):
        query = query.where(_measured(_on_datasets(wanted.datasets)))
    return query


def _newest(dialect: str) -> list[Key]:
    table = tables.logged_models
    newest = tables_paging.numbers(table.c.created_at, ascending=False)
    return newest + tables_paging.texts(table.c.id, dialect, ascending=True)


def _many(tx: Tx, wanted: ModelSearch) -> bool:
    """Whether there are more models in the experiments than are sorted in no time."""
    table = tables.logged_models
    some = sa.select(sa.literal(1)).where(_within(wanted.experiments, table.c.experiment)).limit(FEW + 1)
    return int(tx.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()) > FEW


def _ranked(tx: Tx, wanted: ModelSearch) -> tuple[Sequence[Any], Position | None]:
    """A page by the index of a metric's values: the numbers, then NaN, then the models without the metric."""
    found, after = wanted.orders[0], wanted.after
    if after is not None:
        check_position(after, [int, int, int, str])
    leading, measured = tables.model_metrics.alias(), tables.model_metrics
    code = sa.type_coerce(leading.c.value, sa.BigInteger)
    valued = (
        _sought(tx, wanted, walked=True)
        .join(leading, leading.c.model_id == tables.logged_models.c.id)
        .where(leading.c.key == found.order.key, _counted(found, leading), sa.not_(_superseded(found, leading)))
    )
    named = sa.and_(measured.c.key == found.order.key, _counted(found, measured))
    without = _sought(tx, wanted).where(sa.not_(_measured(named)))
    rows: list[Any] = []
    for rank, query in enumerate((valued.where(code < NAN), valued.where(code == NAN), without)):
        if (after and rank < int(after[0])) or len(rows) > wanted.limit:
            continue
        newest = _newest(tx.dialect)
        keys = newest if query is without else [Key(code, found.order.ascending), *newest]
        value = sa.literal_column("0") if query is without else code
        shown = [sa.literal_column(str(rank)), value, *(key.value for key in newest)]
        shown = [each.label(f"sorted_by_{place}") for place, each in enumerate(shown)]
        edge = after[-len(keys) :] if after and after[0] == rank else None
        paged = sorted_after(query.add_columns(*shown), keys, edge).limit(wanted.limit + 1 - len(rows))
        rows += tx.execute(paged).all()
    if len(rows) <= wanted.limit:
        return rows, None
    return rows[: wanted.limit], tuple(rows[wanted.limit - 1][-4:])


def _counted(found: ModelOrder, measured: Any) -> Condition:
    """Whether a measured value counts for the order: on the dataset that it names."""
    return sa.true() if found.dataset is None else _on_datasets([found.dataset], measured)


def _superseded(found: ModelOrder, one: Any) -> Condition:
    """Whether the metric was measured again later, as `_latest` says."""
    other = tables.model_metrics.alias()
    later = sa.or_(
        other.c.at > one.c.at,
        sa.and_(other.c.at == one.c.at, other.c.step > one.c.step),
        sa.and_(other.c.at == one.c.at, other.c.step == one.c.step, other.c.run < one.c.run),
    )
    same = sa.and_(other.c.model_id == one.c.model_id, other.c.key == one.c.key)
    return sa.exists().where(same, _counted(found, other), later)


def _rare(tx: Tx, wanted: ModelSearch) -> list[str] | None:
    """The models with a value that must be there, when they are few; None when there is no such."""
    table = tables.model_metrics
    for found in conjuncts(wanted.expression):
        if isinstance(found, Comparison) and found.kind == "metric" and _narrows(found):
            matching = sa.and_(table.c.key == found.key, reading(table.c.value, found))
            query = sa.select(table.c.model_id).where(matching, _on_datasets(wanted.datasets)).limit(RARE + 1)
            models = list(tx.execute(query).scalars())
            if len(models) <= RARE:
                return sorted(set(models))
    return None


def _narrows(found: Comparison) -> bool:
    """Whether a model meets the comparison only if one of its values does."""
    extremes = {"last": {"<", "<=", "=", ">", ">="}, "max": {"=", ">", ">="}, "min": {"=", "<", "<="}}
    return found.comparator in extremes[found.aggregate]


def _within(experiments: Sequence[int], column: Any) -> Condition:
    return column == experiments[0] if len(experiments) == 1 else column.in_(experiments)  # one walks its index


def _term(found: Comparison, datasets: Sequence[DatasetName], dialect: str) -> Condition:
    """One comparison of a logged model."""
    table = tables.logged_models
    if found.kind == "metric":
        return _metric(found, datasets, dialect)
    if found.kind != "attribute":
        document = table.c.params if found.kind == "param" else table.c.tags
        return entry(document, found, dialect)
    column = table.c[found.key]
    if isinstance(column.type, Instant):
        return instant(column, found)
    return text(sa.cast(column, sa.Text) if found.key == "experiment" else column, found, dialect)


def _metric(found: Comparison, datasets: Sequence[DatasetName], dialect: str) -> Condition:
    """A metric compared: some value of it, or the lowest or highest of them."""
    table = tables.model_metrics
    named = sa.and_(table.c.key == found.key, _on_datasets(datasets))
    if found.comparator in {"IS NULL", "IS NOT NULL"}:
        there = _measured(named)
        return sa.not_(there) if found.comparator == "IS NULL" else there
    if found.aggregate == "last":  # as MLflow has it: a logged model keeps every value it was measured with
        value: Any = sa.type_coerce(table.c.value, sa.BigInteger)
        if dialect == "sqlite":
            value = value + 0  # by model and key, not by the index of values
        return _measured(sa.and_(named, reading(value, found)))
    code = sa.type_coerce(table.c.value, sa.BigInteger)
    extreme = (sa.func.max if found.aggregate == "max" else sa.func.min)(code)
    of_model = sa.select(extreme).where(table.c.model_id == tables.logged_models.c.id, named, code < NAN)
    return reading(of_model.scalar_subquery(), found)


def _measured(how: Condition) -> Condition:
    table = tables.model_metrics
    return sa.exists().where(table.c.model_id == tables.logged_models.c.id, how)


def _on_datasets(datasets: Sequence[DatasetName], measured: Any = tables.model_metrics) -> Condition:
    """Measured on one of some datasets; of none named, on any or on none."""
    if not datasets:
        return sa.true()
    return sa.or_(
        *(
            sa.and_(
                measured.c.dataset_name == each.name,
                measured.c.dataset_digest == each.digest if each.digest else sa.true(),
            )
            for each in datasets
        )
    )


def _keys(found: ModelOrder, dialect: str) -> list[Key]:
    """What sorts by one key: an attribute, or the latest value of a metric."""
    order = found.order
    if order.kind == "metric":
        return tables_paging.readings(_latest(found), ascending=order.ascending)
    column = tables.logged_models.c[order.key]
    if order.key == "experiment" or isinstance(column.type, Instant):
        return tables_paging.numbers(column, ascending=order.ascending)
    return tables_paging.texts(column, dialect, ascending=order.ascending, nullable=bool(column.nullable))


def _latest(found: ModelOrder) -> Any:
    """The value of a metric that was measured last."""
    table = tables.model_metrics
    code = sa.type_coerce(table.c.value, sa.BigInteger)
    query = sa.select(code).where(table.c.model_id == tables.logged_models.c.id, table.c.key == found.order.key)
    latest = query.where(_counted(found, table)).order_by(table.c.at.desc(), table.c.step.desc(), table.c.run)
    return latest.limit(1).correlate(tables.logged_models).scalar_subquery()
