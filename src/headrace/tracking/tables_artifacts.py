"""Statements on artifacts: which files a run or a logged model has."""

from typing import Any

import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.tracking import tables
from headrace.tracking.nouns import Artifact
from headrace.tracking.tables_runs import chunks


def _artifact(row: Any) -> Artifact:
    return Artifact(
        owner=row.owner,
        path=row.path,
        digest=row.digest,
        size_bytes=row.size_bytes,
        created_by=row.created_by,
        created_at=row.created_at,
    )


def _of(tx: Tx, owner: str) -> sa.Select[Any]:
    table = tables.artifacts
    return sa.select(table).where(table.c.workspace == tx.workspace, table.c.owner == owner)


def put(tx: Tx, artifact: Artifact) -> None:
    """Insert a file, over the one of the same path."""
    values = {
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "created_by": artifact.created_by,
        "created_at": artifact.created_at,
    }
    statement = insert(tx, tables.artifacts).values(
        workspace=tx.workspace, owner=artifact.owner, path=artifact.path, **values
    )
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace", "owner", "path"], set_=values))


def find(tx: Tx, owner: str, paths: list[str]) -> list[Artifact]:
    """Those of the paths that are files."""
    return [_artifact(row) for row in tx.execute(_of(tx, owner).where(tables.artifacts.c.path.in_(paths)))]


def under(tx: Tx, owner: str, folder: str, *, limit: int | None = None) -> list[Artifact]:
    """The files below a folder (everything for an empty one) by path; a range of the primary key."""
    query = _of(tx, owner).order_by(tables.artifacts.c.path).limit(limit)
    if folder:  # "0" is the character that follows "/"
        query = query.where(tables.artifacts.c.path > f"{folder}/", tables.artifacts.c.path < f"{folder}0")
    return [_artifact(row) for row in tx.execute(query)]


def drop(tx: Tx, owner: str, paths: list[str]) -> None:
    """Remove files from the listing; their blobs stay."""
    table = tables.artifacts
    mine = sa.delete(table).where(table.c.workspace == tx.workspace, table.c.owner == owner)
    for some in chunks(paths):
        tx.execute(mine.where(table.c.path.in_(some)))
