"""Statements that fill in what becomes known of a version after its registration."""

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.registry import tables
from headrace.registry.nouns import Version

_LATE = ("training_set_id", "bundle_digest", "environment_digest", "code_commit")


def of_run(tx: Tx, run_id: str, *, limit: int) -> list[Version]:
    """The versions that came from a run."""
    table = tables.versions
    query = sa.select(table).where(table.c.workspace == tx.workspace, table.c.run_id == run_id)
    query = query.order_by(table.c.model, table.c.number).limit(limit)
    return [tables.version_of(row) for row in tx.execute(query).mappings()]


def fill(tx: Tx, version: Version) -> None:
    """Write what was filled in; that is no change of the version, whose time of change stays."""
    tables.change_version(tx, version)
    tables.change_times(tx, version.model, version.number, updated_at=version.updated_at)
    table = tables.versions
    mine = sa.and_(
        table.c.workspace == tx.workspace, table.c.model == version.model, table.c.number == version.number
    )
    fields = msgspec.structs.asdict(version)
    tx.execute(sa.update(table).where(mine).values({name: fields[name] for name in _LATE}))
