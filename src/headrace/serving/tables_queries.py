"""Every statement on the answers to queries."""

from datetime import timedelta

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.serving.query_nouns import Answer
from headrace.serving.tables import queries

KEPT = timedelta(days=1)


def put(tx: Tx, job_id: str, answer: Answer) -> None:
    """Keep an answer, and forget those of former days."""
    tx.execute(sa.delete(queries).where(queries.c.workspace == tx.workspace, queries.c.at < tx.now - KEPT))
    tx.execute(insert(tx, queries).values(workspace=tx.workspace, job_id=job_id, answer=answer, at=tx.now))


def find(tx: Tx, job_id: str) -> Answer | None:
    """The answer that came of a job."""
    query = sa.select(queries.c.answer).where(queries.c.workspace == tx.workspace, queries.c.job_id == job_id)
    row = tx.execute(query).first()
    return None if row is None else msgspec.convert(row.answer, Answer)
