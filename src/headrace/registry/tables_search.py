"""Statements that search for registered models and versions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.kernel.schema import Instant
from headrace.registry import tables
from headrace.registry.nouns import Alias, Model, Version
from headrace.registry.vocabulary import PROMPT_TAG
from headrace.tracking import tables_paging
from headrace.tracking.cursors import Position
from headrace.tracking.expressions import Comparison, Expression, Order, comparisons, conjuncts
from headrace.tracking.tables_matching import Condition, condition, entry, instant, member, text, whole
from headrace.tracking.tables_paging import Key

_A_PROMPT = Comparison(kind="tag", key=PROMPT_TAG, comparator="=", value="true")


class Search(NamedTuple):
    """What is looked for, how much of it, and after what."""

    expression: Expression
    orders: Sequence[Order]
    limit: int
    after: Position | None


def find_models(tx: Tx, search: Search) -> tuple[tuple[Model, ...], Position | None]:
    """A page of registered models, what is equal in the orders by name, and where it ended."""
    table = tables.models
    keys = [key for order in search.orders for key in _keys(order, table, tx.dialect)]
    keys += tables_paging.texts(table.c.name, tx.dialect, ascending=True)
    rows, ended = _page(tx, search, table, keys, lambda found: _column(found, table, tx.dialect))
    return tuple(tables.model_of(row) for row in rows), ended


def find_versions(tx: Tx, search: Search) -> tuple[tuple[Version, ...], Position | None]:
    """A page of versions, what is equal in the orders by model and then newest first, and where it ended."""
    table = tables.versions
    keys = [key for order in search.orders for key in _keys(order, table, tx.dialect)]
    keys += tables_paging.texts(table.c.model, tx.dialect, ascending=True)
    keys += tables_paging.numbers(table.c.number, ascending=False)

    def term(found: Comparison) -> Condition:
        is_alias = found.kind == "attribute" and found.key == "alias"
        return _alias(found, tx.dialect) if is_alias else _column(found, table, tx.dialect)

    if any(_names_few(found) for found in conjuncts(search.expression)):
        keys[0] = keys[0].unindexed()
    rows, ended = _page(tx, search, table, keys, term)
    return tuple(tables.version_of(row) for row in rows), ended


def aliases_of(tx: Tx, models: Sequence[str]) -> dict[str, list[Alias]]:
    """The aliases of some models by name."""
    table = tables.aliases
    query = (
        sa.select(table.c.model, table.c.alias, table.c.number)
        .where(table.c.workspace == tx.workspace, table.c.model.in_(models))
        .order_by(table.c.model, table.c.alias)
    )
    found: dict[str, list[Alias]] = {model: [] for model in models}
    for row in tx.execute(query):
        found[row.model].append(Alias(model=row.model, alias=row.alias, number=row.number))
    return found


def newest_of_stages(tx: Tx, models: Sequence[str]) -> dict[str, list[Version]]:
    """The newest version of each stage of some models, by number."""
    table = tables.versions
    newest = (
        sa.select(table.c.model, sa.func.max(table.c.number).label("number"))
        .where(table.c.workspace == tx.workspace, table.c.model.in_(models))
        .group_by(table.c.model, table.c.stage)
        .subquery()
    )
    same = sa.and_(table.c.model == newest.c.model, table.c.number == newest.c.number)
    query = sa.select(table).join(newest, same).where(table.c.workspace == tx.workspace)
    found: dict[str, list[Version]] = {model: [] for model in models}
    for row in tx.execute(query.order_by(table.c.model, table.c.number)).mappings():
        found[row["model"]].append(tables.version_of(row))
    return found


def _page(
    tx: Tx, search: Search, table: sa.Table, keys: Sequence[Key], term: Callable[[Comparison], Condition]
) -> tuple[list[sa.RowMapping], Position | None]:
    query = sa.select(table).where(table.c.workspace == tx.workspace, condition(search.expression, term))
    if not any(found.kind == "tag" and found.key == PROMPT_TAG for found in comparisons(search.expression)):
        query = query.where(sa.not_(entry(table.c.tags, _A_PROMPT, tx.dialect)))
    rows, ended = tables_paging.page(tx, query, keys, limit=search.limit, after=search.after)
    return [row._mapping for row in rows], ended  # noqa: SLF001 - SQLAlchemy's public name


def _names_few(found: Expression) -> bool:
    """Whether few versions can meet it, so that it is better to sort those than to walk an order."""
    return isinstance(found, Comparison) and found.key in {"model", "run_id"} and found.comparator in {"=", "IN"}


def _column(found: Comparison, table: sa.Table, dialect: str) -> Condition:
    """What is a column compared, or a tag; whoever does not say that it is a prompt says that it is none."""
    if found.kind == "tag" and found.key == PROMPT_TAG and found.texts:
        return text(sa.func.coalesce(member(table.c.tags, PROMPT_TAG, dialect), "false"), found, dialect)
    if found.kind == "tag":
        return entry(table.c.tags, found, dialect)
    column = table.c[found.key]
    if found.key == "number":
        return whole(column, found)
    return instant(column, found) if isinstance(column.type, Instant) else text(column, found, dialect)


def _alias(found: Comparison, dialect: str) -> Condition:
    """One of a version's aliases compared; IS NULL where it has none."""
    table = tables.aliases
    own = sa.exists().where(
        table.c.workspace == tables.versions.c.workspace,
        table.c.model == tables.versions.c.model,
        table.c.number == tables.versions.c.number,
    )
    if found.comparator == "IS NULL":
        return sa.not_(own)
    return own.where(text(table.c.alias, found, dialect))


def _keys(order: Order, table: sa.Table, dialect: str) -> list[Key]:
    if order.kind == "tag":
        value = member(table.c.tags, order.key, dialect)
        return tables_paging.texts(value, dialect, ascending=order.ascending, nullable=True)
    column = table.c[order.key]
    if order.key == "number" or isinstance(column.type, Instant):
        return tables_paging.numbers(column, ascending=order.ascending)
    return tables_paging.texts(column, dialect, ascending=order.ascending, nullable=bool(column.nullable))
