"""Statements on logged models."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.kernel.schema import Instant
from headrace.tracking import tables, tables_metrics, tables_paging
from headrace.tracking.cursors import Position
from headrace.tracking.expressions import Comparison, Expression, Order, comparisons, conjuncts
from headrace.tracking.nouns import DatasetName, LoggedModel, LoggedModelStatus
from headrace.tracking.readings import NAN
from headrace.tracking.tables_matching import Condition, condition, entry, instant, reading, text

RARE = 500
"""How many measured values may match for their models to be fetched and sorted rather than an order walked."""


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


def add(tx: Tx, model: LoggedModel) -> None:
    """Insert a logged model."""
    tx.execute(
        sa.insert(tables.logged_models).values(
            id=model.id,
            workspace=tx.workspace,
            experiment=int(model.experiment_id),
            name=model.name,
            model_type=model.model_type,
            source_run_id=model.source_run_id,
            status=model.status.value,
            params=model.params,
            tags=model.tags,
            created_by=model.created_by,
            created_at=model.created_at,
            updated_at=model.updated_at,
        )
    )


def find(tx: Tx, model_id: str) -> LoggedModel | None:
    """One logged model with its metrics, deleted or not."""
    table = tables.logged_models
    query = sa.select(table).where(table.c.id == model_id, table.c.workspace == tx.workspace)
    found = _assemble(tx, tx.execute(query).all())
    return found[0] if found else None


def known(tx: Tx, model_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are logged models."""
    table = tables.logged_models
    query = sa.select(table.c.id).where(table.c.workspace == tx.workspace, table.c.id.in_(model_ids))
    return set(tx.execute(query).scalars())


def change(tx: Tx, model_id: str, **values: Any) -> None:
    """Set columns of a logged model."""
    table = tables.logged_models
    tx.execute(sa.update(table).where(table.c.id == model_id).values(updated_at=tx.now, **values))


def search(tx: Tx, wanted: ModelSearch) -> tuple[list[LoggedModel], Position | None]:
    """A page of live logged models, what is equal in the orders newest first, and where it ended."""
    table = tables.logged_models
    rare = _rare(tx, wanted)
    query = sa.select(table).where(table.c.workspace == tx.workspace, table.c.deleted_at.is_(None))
    if rare is None:
        query = query.where(_within(wanted.experiments, table.c.experiment))
    else:  # by their ids, whatever other index there is
        query = query.where(table.c.id.in_(rare), _within(wanted.experiments, table.c.experiment + 0))
    query = query.where(condition(wanted.expression, lambda found: _term(found, wanted.datasets, tx.dialect)))
    if wanted.datasets and all(found.kind != "metric" for found in comparisons(wanted.expression)):
        query = query.where(_measured(_on_datasets(wanted.datasets)))
    keys = [key for order in wanted.orders for key in _keys(order, tx.dialect)]
    keys += tables_paging.numbers(table.c.created_at, ascending=False)
    keys += tables_paging.texts(table.c.id, tx.dialect, ascending=True)
    if rare is not None:
        keys[0] = keys[0].unindexed()
    rows, ended = tables_paging.page(tx, query, keys, limit=wanted.limit, after=wanted.after)
    return _assemble(tx, rows), ended


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
        return _metric(found, datasets)
    if found.kind != "attribute":
        document = table.c.params if found.kind == "param" else table.c.tags
        return entry(document, found, dialect)
    column = table.c[found.key]
    if isinstance(column.type, Instant):
        return instant(column, found)
    return text(sa.cast(column, sa.Text) if found.key == "experiment" else column, found, dialect)


def _metric(found: Comparison, datasets: Sequence[DatasetName]) -> Condition:
    """A metric compared: some value of it, or the lowest or highest of them."""
    table = tables.model_metrics
    named = sa.and_(table.c.key == found.key, _on_datasets(datasets))
    if found.comparator in {"IS NULL", "IS NOT NULL"}:
        there = _measured(named)
        return sa.not_(there) if found.comparator == "IS NULL" else there
    if found.aggregate == "last":  # as MLflow has it: a logged model keeps every value it was measured with
        value = sa.type_coerce(table.c.value, sa.BigInteger) + 0  # by model and key, not by the index of values
        return _measured(sa.and_(named, reading(value, found)))
    code = sa.type_coerce(table.c.value, sa.BigInteger)
    extreme = (sa.func.max if found.aggregate == "max" else sa.func.min)(code)
    of_model = sa.select(extreme).where(table.c.model_id == tables.logged_models.c.id, named, code < NAN)
    return reading(of_model.scalar_subquery(), found)


def _measured(how: Condition) -> Condition:
    table = tables.model_metrics
    return sa.exists().where(table.c.model_id == tables.logged_models.c.id, how)


def _on_datasets(datasets: Sequence[DatasetName]) -> Condition:
    """Measured on one of some datasets; of none named, on any or on none."""
    if not datasets:
        return sa.true()
    table = tables.model_metrics
    return sa.or_(
        *(
            sa.and_(
                table.c.dataset_name == each.name,
                table.c.dataset_digest == each.digest if each.digest else sa.true(),
            )
            for each in datasets
        )
    )


def _keys(found: ModelOrder, dialect: str) -> list[tables_paging.Key]:
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
    if found.dataset is not None:
        query = query.where(_on_datasets([found.dataset]))
    latest = query.order_by(table.c.at.desc(), table.c.step.desc(), table.c.run)
    return latest.limit(1).correlate(tables.logged_models).scalar_subquery()


def _assemble(tx: Tx, rows: Sequence[Any]) -> list[LoggedModel]:
    metrics = tables_metrics.read_model_metrics(tx, [row.id for row in rows])
    return [
        LoggedModel(
            id=row.id,
            experiment_id=str(row.experiment),
            name=row.name,
            model_type=row.model_type,
            source_run_id=row.source_run_id,
            status=LoggedModelStatus(row.status),
            deleted=row.deleted_at is not None,
            params=row.params,
            tags=row.tags,
            metrics=tuple(metrics[row.id]),
            created_by=row.created_by,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]
