"""Statements on where many versions stand, without what they are made of."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from headrace.kernel.database import Tx
from headrace.registry import tables
from headrace.registry.nouns import Stage, Standing


def in_stage(tx: Tx, stage: Stage) -> list[tuple[str, int]]:
    """Model and number of every version in a stage; from an index alone."""
    table = tables.versions
    query = sa.select(table.c.model, table.c.number)
    query = query.where(table.c.workspace == tx.workspace, table.c.stage == stage.value)
    return [(row.model, row.number) for row in tx.execute(query)]


def standing(tx: Tx, versions: Sequence[tuple[str, int]]) -> Iterable[Standing]:
    """Where those of the versions stand that are not deleted."""
    table = tables.versions
    numbers: dict[str, list[int]] = {}
    for model, number in versions:
        numbers.setdefault(model, []).append(number)
    # not a list of pairs, for which SQLite reads every version
    some = [sa.and_(table.c.model == model, table.c.number.in_(found)) for model, found in numbers.items()]
    query = sa.select(table.c.model, table.c.number, table.c.stage, table.c.owner, table.c.created_at)
    query = query.where(table.c.workspace == tx.workspace, sa.or_(sa.false(), *some))
    for row in tx.execute(query):
        yield Standing(
            model=row.model,
            number=row.number,
            stage=Stage(row.stage),
            owner=row.owner,
            registered_at=row.created_at,
        )
