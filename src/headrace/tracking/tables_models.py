"""Statements on logged models."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.kernel.schema import Instant
from headrace.tracking import tables, tables_metrics
from headrace.tracking.nouns import LoggedModel, LoggedModelStatus


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


def search(
    tx: Tx,
    *,
    numbers: Sequence[int],
    name: str | None,
    source_run_id: str | None,
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[LoggedModel]:
    """Logged models of some experiments, newest first, from after the given (created_at, id) on."""
    table = tables.logged_models
    query = sa.select(table).where(
        table.c.workspace == tx.workspace, table.c.experiment.in_(numbers), table.c.deleted_at.is_(None)
    )
    if name is not None:
        query = query.where(table.c.name == name)
    if source_run_id is not None:
        query = query.where(table.c.source_run_id == source_run_id)
    if before is not None:
        edge = sa.tuple_(sa.literal(before[0], Instant), sa.literal(before[1], sa.String))
        query = query.where(sa.tuple_(table.c.created_at, table.c.id) < edge)
    query = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    return _assemble(tx, tx.execute(query).all())


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
