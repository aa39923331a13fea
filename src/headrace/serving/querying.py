"""Queries of the prediction log: asked of control, run by a worker, the rows fetched as a blob.

Control-side. The rows' blob is held by nothing, so that collecting blobs removes it when it is a day old.
"""

from headrace.errors import InvalidInput, NotFound, PermissionRefused
from headrace.kernel import jobs
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_hex
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.serving import tables_queries as tables
from headrace.serving.query_nouns import Answer, Asked, Query

QUERY: JobKind[Query, Answer] = JobKind(
    name="serving.query_predictions", payload=Query, result=Answer, lease_s=60.0, max_attempts=2
)


def ask(tx: Tx, query: Query) -> Asked:
    """Have a worker answer a query; those of one asker run one after the other, so that they take one worker."""
    if "\x00" in query.sql:
        raise InvalidInput("a query holds no NUL", where="sql")
    key = f"{QUERY.name}/{new_hex()}"  # by which it can be cancelled
    job_id = jobs.enqueue(tx, QUERY, query, key=key, lane=f"{QUERY.name}/{tx.actor}")
    return get(tx, job_id)


def get(tx: Tx, job_id: str) -> Asked:
    """How far a query is.

    Raises:
        NotFound: there is no such query, or its answer is gone.
    """
    job = _job(tx, job_id)
    answer = tables.find(tx, job_id)
    progress = job.progress or {}
    return Asked(
        job_id=job_id,
        state=job.state,
        answer=answer,
        error=job.error,
        at=job.enqueued_at,
        done=progress.get("fraction", 0.0),
        note=progress.get("note"),
    )


def cancel(tx: Tx, job_id: str) -> None:
    """Stop a query, if it has not ended: whoever asked waits no longer.

    Raises:
        NotFound: there is no such query.
        PermissionRefused: somebody else asked it.
    """
    job = _job(tx, job_id)
    if job.actor != tx.actor:
        raise PermissionRefused(
            "a query is cancelled by who asked it", where=f"query/{job_id}", fix="It ends at its limit of time."
        )
    jobs.cancel(tx, job.key or "", "whoever asked waits no longer")


def _job(tx: Tx, job_id: str) -> Job:
    job = jobs.get(tx, job_id)
    if job.kind != QUERY.name:
        raise NotFound("there is no such query", where=f"query/{job_id}")
    return job


def settle(tx: Tx, job: Job, result: Answer) -> None:
    """Keep where the rows are."""
    tables.put(tx, job.id, result)


HANDLINGS = [Handling(kind=QUERY, settle=settle)]
