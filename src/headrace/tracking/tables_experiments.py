"""Statements on experiments."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.prepared import Prepared
from headrace.kernel.schema import Instant, from_microseconds
from headrace.tracking import tables, tables_paging
from headrace.tracking.cursors import Position
from headrace.tracking.expressions import Comparison, Expression, Order
from headrace.tracking.nouns import Experiment
from headrace.tracking.tables_matching import Condition, condition, entry, instant, member, text
from headrace.tracking.tables_runs import chunks


def _experiment(row: Any) -> Experiment:
    return Experiment(
        id=str(row.number),
        name=row.name,
        artifact_location=row.artifact_location or "",
        tags=row.tags,
        deleted=row.deleted_at is not None,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def add_experiment(
    tx: Tx, name: str, experiment_tags: dict[str, str], *, number: int | None = None, location: str = ""
) -> Experiment | None:
    """Insert an experiment; None when the name (or the number) is taken."""
    values: dict[str, object] = {
        "name": name,
        "tags": experiment_tags,
        "artifact_location": location or None,
        "created_by": tx.actor,
        "deleted_at": None,
    }
    if number is not None:
        values["number"] = number
    statement = (
        insert(tx, tables.experiments)
        .values(workspace=tx.workspace, created_at=tx.now, updated_at=tx.now, **values)
        .on_conflict_do_nothing()
        .returning(tables.experiments)
    )
    row = tx.execute(statement).one_or_none()
    return None if row is None else _experiment(row)


_EXPERIMENT = sa.select(
    *(
        tables.experiments.c[name]
        for name in (
            "number", "name", "artifact_location", "tags", "created_by", "created_at", "updated_at", "deleted_at"
        )
    )
).where(tables.experiments.c.workspace == sa.bindparam("workspace"))  # fmt: skip
_BY_NUMBER = Prepared(lambda _: _EXPERIMENT.where(tables.experiments.c.number == sa.bindparam("number")))
_BY_NAME = Prepared(lambda _: _EXPERIMENT.where(tables.experiments.c.name == sa.bindparam("name")))


def find_experiment(tx: Tx, *, number: int | None = None, name: str | None = None) -> Experiment | None:
    """The experiment of this number or name."""
    if name is None:
        rows = _BY_NUMBER.rows(tx, workspace=tx.workspace, number=number)
    else:
        rows = _BY_NAME.rows(tx, workspace=tx.workspace, name=name)
    if not rows:
        return None
    found, title, location, tags, created_by, created_at, updated_at, deleted_at = rows[0]
    return Experiment(
        id=str(found),
        name=title,
        artifact_location=location or "",
        tags=msgspec.json.decode(tags),
        deleted=deleted_at is not None,
        created_by=created_by,
        created_at=from_microseconds(created_at),
        updated_at=from_microseconds(updated_at),
    )


def search_experiments(
    tx: Tx,
    expression: Expression,
    orders: Sequence[Order],
    *,
    deleted: bool | None,
    limit: int,
    after: Position | None,
) -> tuple[tuple[Experiment, ...], Position | None]:
    """A page of experiments, those that are equal in the orders by number from the highest, and where it ended."""
    table = tables.experiments
    query = sa.select(table).where(table.c.workspace == tx.workspace)
    query = tables.with_deletion(query, table.c.deleted_at, deleted=deleted)
    query = query.where(condition(expression, lambda found: _term(found, tx.dialect)))
    keys = [key for order in orders for key in _keys(order, tx.dialect)]
    keys.append(tables_paging.Key(table.c.number, ascending=False))
    rows, ended = tables_paging.page(tx, query, keys, limit=limit, after=after)
    return tuple(_experiment(row) for row in rows), ended


def _term(found: Comparison, dialect: str) -> Condition:
    """One comparison of an experiment."""
    table = tables.experiments
    if found.kind == "tag":
        return entry(table.c.tags, found, dialect)
    if found.key == "id":
        if found.comparator in {"=", "IN"}:
            return table.c.number.in_([int(each) for each in found.texts])
        return text(sa.cast(table.c.number, sa.Text), found, dialect)
    column = table.c[found.key]
    return instant(column, found) if isinstance(column.type, Instant) else text(column, found, dialect)


def _keys(order: Order, dialect: str) -> list[tables_paging.Key]:
    table = tables.experiments
    if order.kind == "tag":
        value = member(table.c.tags, order.key, dialect)
        return tables_paging.texts(value, dialect, ascending=order.ascending, nullable=True)
    if order.key == "name":
        return tables_paging.texts(table.c.name, dialect, ascending=order.ascending)
    column = table.c.number if order.key == "id" else table.c[order.key]
    return tables_paging.numbers(column, ascending=order.ascending)


def set_experiment_tags(tx: Tx, number: int, experiment_tags: dict[str, str]) -> None:
    """Write an experiment's tags back."""
    tx.execute(
        sa.update(tables.experiments)
        .where(tables.experiments.c.number == number)
        .values(tags=experiment_tags, updated_at=tx.now)
    )


def every_number(tx: Tx) -> list[int]:
    """The numbers of all experiments."""
    table = tables.experiments
    return list(tx.execute(sa.select(table.c.number).where(table.c.workspace == tx.workspace)).scalars())


def known_numbers(tx: Tx, numbers: Sequence[int]) -> list[int]:
    """Those of the numbers that are experiments."""
    table = tables.experiments
    query = sa.select(table.c.number).where(table.c.workspace == tx.workspace)
    return [
        number for some in chunks(numbers) for number in tx.execute(query.where(table.c.number.in_(some))).scalars()
    ]


def tags_of(tx: Tx, numbers: Sequence[int]) -> list[dict[str, str]]:
    """The tags of experiments."""
    table = tables.experiments
    return list(tx.execute(sa.select(table.c.tags).where(table.c.number.in_(numbers))).scalars())


def change_experiment(tx: Tx, number: int, **values: Any) -> None:
    """Set columns of an experiment."""
    tx.execute(sa.update(tables.experiments).where(tables.experiments.c.number == number).values(**values))


def artifact_root(tx: Tx) -> str:
    """Below which location new experiments keep their files; empty: in the platform."""
    table = tables.artifact_roots
    query = sa.select(table.c.location).where(table.c.workspace == tx.workspace)
    return str(tx.execute(query).scalar_one_or_none() or "")


def put_artifact_root(tx: Tx, location: str) -> None:
    """Set the location below which new experiments keep their files."""
    statement = insert(tx, tables.artifact_roots).values(workspace=tx.workspace, location=location)
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace"], set_={"location": location}))


def deleted_at(tx: Tx, number: int) -> datetime | None:
    """When an experiment was deleted; None while it is not."""
    table = tables.experiments
    found: datetime | None = tx.execute(sa.select(table.c.deleted_at).where(table.c.number == number)).scalar_one()
    return found
