"""Statements on experiments."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Instant
from headrace.tracking import tables
from headrace.tracking.nouns import Experiment


def _experiment(row: Any) -> Experiment:
    return Experiment(
        id=str(row.number),
        name=row.name,
        tags=row.tags,
        deleted=row.deleted_at is not None,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def add_experiment(
    tx: Tx, name: str, experiment_tags: dict[str, str], *, number: int | None = None
) -> Experiment | None:
    """Insert an experiment; None when the name (or the number) is taken."""
    values: dict[str, object] = {"name": name, "tags": experiment_tags, "created_by": tx.actor, "deleted_at": None}
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


def find_experiment(tx: Tx, *, number: int | None = None, name: str | None = None) -> Experiment | None:
    """The experiment of this number or name."""
    query = sa.select(tables.experiments).where(tables.experiments.c.workspace == tx.workspace)
    query = query.where(
        tables.experiments.c.number == number if name is None else tables.experiments.c.name == name
    )
    row = tx.execute(query).one_or_none()
    return None if row is None else _experiment(row)


def list_experiments(
    tx: Tx, *, deleted: bool | None, limit: int, before: tuple[datetime, int] | None = None
) -> tuple[Experiment, ...]:
    """Experiments, newest first, from after the given (created_at, number) on."""
    query = sa.select(tables.experiments).where(tables.experiments.c.workspace == tx.workspace)
    query = tables.with_deletion(query, tables.experiments.c.deleted_at, deleted=deleted)
    if before is not None:
        query = query.where(
            sa.tuple_(tables.experiments.c.created_at, tables.experiments.c.number)
            < sa.tuple_(sa.literal(before[0], Instant), sa.literal(before[1], tables.NUMBER))
        )
    query = query.order_by(tables.experiments.c.created_at.desc(), tables.experiments.c.number.desc()).limit(limit)
    return tuple(_experiment(row) for row in tx.execute(query))


def set_experiment_tags(tx: Tx, number: int, experiment_tags: dict[str, str]) -> None:
    """Write an experiment's tags back."""
    tx.execute(
        sa.update(tables.experiments)
        .where(tables.experiments.c.number == number)
        .values(tags=experiment_tags, updated_at=tx.now)
    )
