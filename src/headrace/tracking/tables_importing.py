"""Statements that only an import needs: rows with the ids and times that they had elsewhere, and counting them."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.tracking import tables
from headrace.tracking.imported import Held, ImportExperiment, ImportLoggedModel, ImportRun
from headrace.tracking.nouns import Artifact, LoggedModelStatus
from headrace.tracking.stored_runs import RUN_COLUMNS, StoredRun
from headrace.tracking.tables_runs import assemble, chunks


def add_experiment(tx: Tx, found: ImportExperiment, number: int | None) -> int | None:
    """Insert an experiment under its number, or the next one; returns it, or None when the number is taken."""
    values = {} if number is None else {"number": number}
    statement = (
        insert(tx, tables.experiments)
        .values(
            workspace=tx.workspace,
            name=found.name,
            tags=found.tags,
            created_by=tx.actor,
            created_at=found.created_at or tx.now,
            updated_at=found.updated_at or found.created_at or tx.now,
            deleted_at=found.deleted_at,
            **values,
        )
        .on_conflict_do_nothing()
        .returning(tables.experiments.c.number)
    )
    added = tx.execute(statement).scalar_one_or_none()
    if added is not None and number is not None and tx.dialect == "postgresql":
        _pass_over(tx)
    return added


def _pass_over(tx: Tx) -> None:
    """Have PostgreSQL's sequence go on above the numbers that were given by hand, as SQLite's does by itself."""
    sequence = sa.func.pg_get_serial_sequence(tables.experiments.name, "number")
    highest = sa.select(sa.func.max(tables.experiments.c.number)).scalar_subquery()
    tx.execute(sa.select(sa.func.setval(sequence, sa.func.greatest(highest, sa.func.nextval(sequence)))))


def add_run(tx: Tx, found: ImportRun) -> bool:
    """Insert a run as it is; False when its id is taken."""
    statement = (
        insert(tx, tables.runs)
        .values(
            workspace=tx.workspace,
            id=found.id,
            experiment=int(found.experiment_id),
            name=found.name,
            user=found.user,
            status=found.status.value,
            started_at=found.started_at,
            ended_at=found.ended_at,
            deleted_at=found.deleted_at,
            artifact_uri=found.artifact_uri or None,
        )
        .on_conflict_do_nothing()
    )
    return tx.execute(statement).rowcount == 1


def add_logged_model(tx: Tx, found: ImportLoggedModel) -> bool:
    """Insert a logged model as it is; False when its id is taken."""
    statement = (
        insert(tx, tables.logged_models)
        .values(
            id=found.id,
            workspace=tx.workspace,
            experiment=int(found.experiment_id),
            name=found.name,
            model_type=found.model_type,
            source_run_id=found.source_run_id,
            status=found.status.value,
            params=found.params,
            tags=found.tags,
            created_by=tx.actor,
            created_at=found.created_at,
            updated_at=found.updated_at,
            deleted_at=found.deleted_at,
            artifact_uri=found.artifact_uri or None,
        )
        .on_conflict_do_nothing()
    )
    return tx.execute(statement).rowcount == 1


def change_logged_model(
    tx: Tx, model_id: str, *, status: LoggedModelStatus, params: dict[str, str], tags: dict[str, str]
) -> None:
    """Set what of a logged model may have grown elsewhere; its times stay."""
    table = tables.logged_models
    statement = sa.update(table).where(table.c.id == model_id, table.c.workspace == tx.workspace)
    tx.execute(statement.values(status=status.value, params=params, tags=tags))


def find_runs(tx: Tx, run_ids: Sequence[str]) -> list[StoredRun]:
    """Those of the runs that are here, deleted or not, with everything that was logged."""
    columns = [
        sa.type_coerce(tables.runs.c[name], sa.BigInteger) if name.endswith("_at") else tables.runs.c[name]
        for name in RUN_COLUMNS
    ]
    query = sa.select(*columns).where(tables.runs.c.workspace == tx.workspace)
    rows = [row for chunk in chunks(run_ids) for row in tx.execute(query.where(tables.runs.c.id.in_(chunk)))]
    return assemble(tx, [tuple(row) for row in rows]) if rows else []


def count_points(tx: Tx, runs: Sequence[int]) -> dict[int, int]:
    """How many points runs have, by the runs' numbers."""
    found: dict[int, int] = {}
    for chunk in chunks(runs):
        query = (
            sa.select(tables.series.c.run, sa.func.count().label("points"))
            .join(tables.points, tables.points.c.series == tables.series.c.number)
            .where(tables.series.c.run.in_(chunk))
            .group_by(tables.series.c.run)
        )
        found.update((row.run, row.points) for row in tx.execute(query))
    return found


def held(tx: Tx, owners: Sequence[str]) -> dict[str, Held]:
    """How many files owners have."""
    table = tables.artifacts
    found: dict[str, Held] = {}
    for chunk in chunks(owners):
        query = (
            sa.select(table.c.owner, sa.func.count().label("files"), sa.func.sum(table.c.size_bytes).label("size"))
            .where(table.c.workspace == tx.workspace, table.c.owner.in_(chunk))
            .group_by(table.c.owner)
        )
        found.update((row.owner, Held(files=row.files, size_bytes=int(row.size))) for row in tx.execute(query))
    return found


def put_artifacts(tx: Tx, found: Iterable[Artifact]) -> None:
    """Insert files, over those of the same paths."""
    rows = [
        {
            "workspace": tx.workspace,
            "owner": each.owner,
            "path": each.path,
            "digest": each.digest,
            "size_bytes": each.size_bytes,
            "created_by": each.created_by,
            "created_at": each.created_at,
        }
        for each in found
    ]
    statement = insert(tx, tables.artifacts)
    replaced = {name: statement.excluded[name] for name in ("digest", "size_bytes", "created_by", "created_at")}
    statement = statement.on_conflict_do_update(index_elements=["workspace", "owner", "path"], set_=replaced)
    if rows:
        tx.execute(statement, rows)
