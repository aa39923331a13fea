"""Statements on logged models."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.tracking import tables, tables_metrics
from headrace.tracking.nouns import LoggedModel, LoggedModelStatus
from headrace.tracking.tables_runs import chunks


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
            artifact_uri=model.artifact_uri or None,
        )
    )


def find(tx: Tx, model_id: str) -> LoggedModel | None:
    """One logged model with its metrics, deleted or not."""
    table = tables.logged_models
    query = sa.select(table).where(table.c.id == model_id, table.c.workspace == tx.workspace)
    found = assemble(tx, tx.execute(query).all())
    return found[0] if found else None


def known(tx: Tx, model_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are logged models."""
    table = tables.logged_models
    query = sa.select(table.c.id).where(table.c.workspace == tx.workspace)
    return {
        found for some in chunks(model_ids) for found in tx.execute(query.where(table.c.id.in_(some))).scalars()
    }


def change(tx: Tx, model_id: str, **values: Any) -> None:
    """Set columns of a logged model."""
    table = tables.logged_models
    tx.execute(sa.update(table).where(table.c.id == model_id).values(updated_at=tx.now, **values))


def assemble(tx: Tx, rows: Sequence[Any]) -> list[LoggedModel]:
    """Logged models of their rows, with their metrics."""
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
            artifact_uri=row.artifact_uri or "",
            params=row.params,
            tags=row.tags,
            metrics=tuple(metrics[row.id]),
            created_by=row.created_by,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]
