"""Jobs: work outside the control process, leased, retried and settled exactly once.

A job is enqueued in the transaction of the change that wants it. A worker claims it under a lease, which it
renews by heartbeats. Its result is settled in one transaction with the job's completion and only while the lease
holds, so that work happens at least once and its effect exactly once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from headrace.errors import InvalidInput, LeaseLost, NotFound
from headrace.kernel import business_time, events
from headrace.kernel.database import Tx, insert
from headrace.kernel.ids import new_hex, new_id
from headrace.kernel.schema import to_microseconds
from headrace.kernel.tables import jobs

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

_LOG = logging.getLogger(__name__)

QUEUED, LEASED, DONE, FAILED, CANCELLED = "queued", "leased", "done", "failed", "cancelled"

FIRST_RETRY = timedelta(seconds=1)
SANE_LEASES = 2
"""A lease that ends later than so many leases from now was given before the clock was set back."""
LONGEST_RETRY = timedelta(minutes=5)
ERROR_LENGTH = 4000


class JobKind(msgspec.Struct, Generic[P, R], frozen=True, kw_only=True):
    """A kind of work and the types of what goes in and comes out.

    Attributes:
        name: `<room>.<verb>`.
        payload: type of the input.
        result: type of the worker's answer.
        lease_s: seconds without a heartbeat after which another worker may take the job.
        max_attempts: claims after which the job has failed.
    """

    name: str
    payload: type[P]
    result: type[R]
    lease_s: float = 30.0
    max_attempts: int = 5


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work, as a worker and its settling see it.

    Attributes:
        payload: the input, as raw JSON of the kind's payload type.
        attempt: 1 for the first claim.
        lease: proof of the present claim; heartbeats and results must name it.
        scheduled_for: business time of the firing, for a job that a schedule enqueued.
        business_now: business time at the claim.
    """

    id: str
    kind: str
    payload: msgspec.Raw
    actor: str
    workspace: str
    state: str
    attempt: int
    max_attempts: int
    enqueued_at: datetime
    key: str | None = None
    lane: str | None = None
    lease: str | None = None
    lease_s: float = 30.0
    leased_by: str | None = None
    scheduled_for: datetime | None = None
    not_before: datetime | None = None
    not_before_business: datetime | None = None
    business_now: datetime | None = None
    progress: dict[str, Any] | None = None
    error: str | None = None
    finished_at: datetime | None = None


class Handling(NamedTuple):
    """What control does with the outcome of one kind, in the transaction that ends the job.

    Attributes:
        settle: takes the result.
        failed: takes the error of a job that has run out of attempts or cannot be retried.
    """

    kind: JobKind[Any, Any]
    settle: Callable[[Tx, Job, Any], None]
    failed: Callable[[Tx, Job, str], None] | None = None


def enqueue(
    tx: Tx,
    kind: JobKind[P, R],
    payload: P,
    *,
    key: str | None = None,
    lane: str | None = None,
    not_before: datetime | None = None,
    not_before_business: datetime | None = None,
    scheduled_for: datetime | None = None,
) -> str:
    """Ask for work, in the transaction that makes it necessary; returns the job's id.

    Args:
        tx: the transaction of the change.
        kind: what kind of work.
        payload: its input.
        key: a second job with the same key is not made; the first one's id is returned, whatever its state.
        lane: jobs of one lane run one at a time, in the order in which they were asked for.
        not_before: wall time before which it is not claimed.
        not_before_business: business time before which it is not claimed.
        scheduled_for: business time of the firing, for schedules.
    """
    return _enqueue(
        tx,
        kind.name,
        msgspec.json.encode(payload).decode(),
        lease_s=kind.lease_s,
        max_attempts=kind.max_attempts,
        key=key,
        lane=lane,
        not_before=not_before,
        not_before_business=not_before_business,
        scheduled_for=scheduled_for,
    )


def enqueue_raw(
    tx: Tx, kind: JobKind[Any, Any], payload: str, *, key: str, lane: str, scheduled_for: datetime
) -> str:
    """Enqueue a payload that is JSON already, for schedules."""
    return _enqueue(
        tx,
        kind.name,
        payload,
        lease_s=kind.lease_s,
        max_attempts=kind.max_attempts,
        key=key,
        lane=lane,
        scheduled_for=scheduled_for,
    )


def _enqueue(tx: Tx, kind: str, payload: str, *, key: str | None, **columns: Any) -> str:
    job_id = new_id("job")
    statement = insert(tx, jobs).values(
        id=job_id,
        workspace=tx.workspace,
        kind=kind,
        key=key,
        payload=payload,
        actor=tx.actor,
        state=QUEUED,
        attempt=0,
        enqueued_at=tx.now,
        **columns,
    )
    if key is not None:
        statement = statement.on_conflict_do_nothing(index_elements=["workspace", "key"])
    if tx.execute(statement.returning(jobs.c.id)).first() is not None:
        return job_id
    existing = sa.select(jobs.c.id).where(jobs.c.workspace == tx.workspace, jobs.c.key == key)
    return str(tx.execute(existing).scalar_one())


def claim(tx: Tx, worker: str, kinds: Sequence[str]) -> Job | None:
    """Take the oldest job that is due, under a lease.

    Args:
        tx: a write transaction.
        worker: who will do it; names the process, for the record and for `abandon`.
        kinds: names of the kinds that the worker can do.
    """
    statement = (
        sa.select(jobs.c.seq, jobs.c.lease_s, jobs.c.attempt)
        .where(_claimable(tx, kinds))
        .order_by(jobs.c.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = tx.execute(statement).first()
    if found is None:
        return None
    tx.execute(
        jobs.update()
        .where(jobs.c.seq == found.seq)
        .values(
            state=LEASED,
            attempt=found.attempt + 1,
            leased_by=worker,
            lease=new_hex(),
            leased_until=tx.now + timedelta(seconds=found.lease_s),
        )
    )
    return _one(tx, jobs.c.seq == found.seq)


def available(tx: Tx, kinds: Sequence[str]) -> bool:
    """Whether `claim` would find a job; a cheap look before a transaction is opened."""
    return tx.execute(sa.select(jobs.c.seq).where(_claimable(tx, kinds)).limit(1)).first() is not None


def heartbeat(tx: Tx, job_id: str, lease: str, progress: Mapping[str, Any] | None = None) -> None:
    """Renew the lease, and tell how far the work is.

    Raises:
        LeaseLost: another worker has the job, or it has ended.
    """
    job = _held(tx, job_id, lease)
    values: dict[str, Any] = {"leased_until": tx.now + timedelta(seconds=job.lease_s)}
    if progress is not None:
        values["progress"] = progress
    tx.execute(jobs.update().where(jobs.c.id == job_id).values(values))


def settle(tx: Tx, handling: Handling, job_id: str, lease: str, result: Any) -> None:
    """Take the worker's result and end the job, in one transaction and only under the lease.

    Args:
        result: builtins, as decoded from the worker's JSON.

    Raises:
        LeaseLost: another worker has the job, or it has ended; the result is not taken.
        InvalidInput: the result is not of the kind's type.
    """
    job = _held(tx, job_id, lease)
    try:
        decoded = msgspec.convert(result, handling.kind.result)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"not a result of {job.kind}: {error}", where=f"job/{job_id}") from error
    handling.settle(tx.acting_as(job.actor), job, decoded)
    _end(tx, job_id, DONE, None)


def fail(tx: Tx, handling: Handling, job_id: str, lease: str, error: str, *, retry: bool) -> None:
    """Take the worker's failure: try again later with back-off, or end the job as failed.

    Raises:
        LeaseLost: another worker has the job, or it has ended.
    """
    job = _held(tx, job_id, lease)
    if retry and job.attempt < job.max_attempts:
        pause = min(FIRST_RETRY * 2 ** (job.attempt - 1), LONGEST_RETRY)
        tx.execute(
            jobs.update()
            .where(jobs.c.id == job_id)
            .values(
                state=QUEUED,
                lease=None,
                leased_until=None,
                not_before=tx.now + pause,
                error=error[:ERROR_LENGTH],
            )
        )
        return
    _give_up(tx, handling, job, error)


def lapsed(tx: Tx) -> bool:
    """Whether `expire` would find a job; a cheap look before a transaction is opened."""
    return tx.execute(sa.select(jobs.c.id).where(_spent(tx)).limit(1)).first() is not None


def expire(tx: Tx, handlings: Mapping[str, Handling]) -> int:
    """End the jobs whose lease lapsed on their last attempt; returns how many.

    A kind that this program no longer has ends without its handler, and holds up nobody else.
    """
    spent = [row.id for row in tx.execute(sa.select(jobs.c.id).where(_spent(tx)))]
    ended = 0
    for job_id in spent:
        try:
            tx.apart(partial(_expire, handlings=handlings, job_id=job_id))
            ended += 1
        except Exception:  # noqa: BLE001 - it is tried again at every look, and must not hold up the others
            _LOG.exception("the failure of job %s could not be handled", job_id)
    return ended


def _expire(tx: Tx, handlings: Mapping[str, Handling], job_id: str) -> None:
    job = get(tx, job_id)
    _give_up(tx, handlings.get(job.kind), job, f"the worker {job.leased_by} did not answer any more")


def abandon(tx: Tx, worker: str) -> int:
    """Put back what a former process of this name held: its supervisor knows that it is dead."""
    result = tx.execute(
        jobs.update()
        .where(jobs.c.workspace == tx.workspace, jobs.c.state == LEASED, jobs.c.leased_by == worker)
        .values(leased_until=tx.now - timedelta(microseconds=1), lease=None)
    )
    return result.rowcount


def cancel(tx: Tx, key: str, reason: str) -> bool:
    """End the job under `key`, if it has not ended: nobody needs its result any more.

    A worker that has it loses its lease, and hears of that at its next heartbeat.
    """
    result = tx.execute(
        jobs.update()
        .where(jobs.c.workspace == tx.workspace, jobs.c.key == key, jobs.c.state.in_([QUEUED, LEASED]))
        .values(state=CANCELLED, error=reason, finished_at=tx.now, lease=None, leased_until=None)
    )
    return result.rowcount > 0


def get(tx: Tx, job_id: str) -> Job:
    """One job.

    Raises:
        NotFound: no such job in this workspace.
    """
    return _one(tx, jobs.c.id == job_id)


def by_key(tx: Tx, key: str) -> Job | None:
    """The job that was enqueued under `key`."""
    row = tx.execute(sa.select(jobs).where(jobs.c.workspace == tx.workspace, jobs.c.key == key)).first()
    return None if row is None else _job(tx, row)


def recent(tx: Tx, *, states: Sequence[str] | None = None, limit: int = 100) -> list[Job]:
    """Jobs of this workspace, newest first."""
    statement = sa.select(jobs).where(jobs.c.workspace == tx.workspace).order_by(jobs.c.seq.desc()).limit(limit)
    if states is not None:
        statement = statement.where(jobs.c.state.in_(states))
    return [_job(tx, row) for row in tx.execute(statement)]


def unfinished(tx: Tx) -> int:
    """How many jobs are due or under way; jobs that wait for a time to come do not count."""
    now = business_time.business_now(tx)
    statement = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(
            jobs.c.workspace == tx.workspace,
            jobs.c.state.in_([QUEUED, LEASED]),
            sa.or_(jobs.c.not_before_business.is_(None), jobs.c.not_before_business <= now),
        )
    )
    return tx.execute(statement).scalar_one()


def _claimable(tx: Tx, kinds: Sequence[str]) -> sa.ColumnElement[bool]:
    """Due on both clocks and first of its lane, or leased by a worker that fell silent."""
    earlier = jobs.alias("earlier")
    blocked = sa.exists().where(
        earlier.c.workspace == jobs.c.workspace,
        earlier.c.lane == jobs.c.lane,
        earlier.c.state.in_([QUEUED, LEASED]),
        earlier.c.seq < jobs.c.seq,
    )
    set_back = sa.and_(jobs.c.attempt > 0, jobs.c.not_before > tx.now + LONGEST_RETRY)
    due = sa.and_(
        sa.or_(jobs.c.not_before.is_(None), jobs.c.not_before <= tx.now, set_back),
        sa.or_(jobs.c.not_before_business.is_(None), jobs.c.not_before_business <= business_time.business_now(tx)),
        sa.or_(jobs.c.lane.is_(None), sa.not_(blocked)),
    )
    lapsed = sa.and_(jobs.c.state == LEASED, _silent(tx), jobs.c.attempt < jobs.c.max_attempts)
    return sa.and_(
        jobs.c.workspace == tx.workspace,
        jobs.c.kind.in_(kinds),
        sa.or_(sa.and_(jobs.c.state == QUEUED, due), lapsed),
    )


def _spent(tx: Tx) -> sa.ColumnElement[bool]:
    """Leased for the last time, by a worker that fell silent."""
    return sa.and_(
        jobs.c.workspace == tx.workspace,
        jobs.c.state == LEASED,
        _silent(tx),
        jobs.c.attempt >= jobs.c.max_attempts,
    )


def _silent(tx: Tx) -> sa.ColumnElement[bool]:
    """The lease is over, or ends so late that the clock must have been set back since it was given."""
    ends = sa.type_coerce(jobs.c.leased_until, sa.BigInteger)
    latest = to_microseconds(tx.now) + jobs.c.lease_s * (SANE_LEASES * 1_000_000)
    return sa.or_(jobs.c.leased_until < tx.now, ends > latest)


def _held(tx: Tx, job_id: str, lease: str) -> Job:
    job = get(tx, job_id)
    if job.state != LEASED or job.lease != lease:
        raise LeaseLost(
            "the lease on this job has passed on",
            where=f"job/{job_id}",
            fix="Drop the work; another worker has it.",
        )
    return job


def _give_up(tx: Tx, handling: Handling | None, job: Job, error: str) -> None:
    owner = tx.acting_as(job.actor)
    if handling is not None and handling.failed is not None:
        handling.failed(owner, job, error)
    events.append(
        owner, "kernel.job_failed", f"job/{job.id}",
        {"kind": job.kind, "attempt": job.attempt, "error": error[:ERROR_LENGTH]},
    )  # fmt: skip
    _end(tx, job.id, FAILED, error[:ERROR_LENGTH])


def _end(tx: Tx, job_id: str, state: str, error: str | None) -> None:
    tx.execute(
        jobs.update()
        .where(jobs.c.id == job_id)
        .values(state=state, error=error, finished_at=tx.now, lease=None, leased_until=None)
    )


def _one(tx: Tx, condition: sa.ColumnElement[bool]) -> Job:
    row = tx.execute(sa.select(jobs).where(jobs.c.workspace == tx.workspace, condition)).first()
    if row is None:
        raise NotFound("there is no such job", where="job")
    return _job(tx, row)


def _job(tx: Tx, row: sa.Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        payload=msgspec.Raw(row.payload.encode()),
        actor=row.actor,
        workspace=row.workspace,
        state=row.state,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        enqueued_at=row.enqueued_at,
        key=row.key,
        lane=row.lane,
        lease=row.lease,
        lease_s=row.lease_s,
        leased_by=row.leased_by,
        scheduled_for=row.scheduled_for,
        not_before=row.not_before,
        not_before_business=row.not_before_business,
        business_now=business_time.business_now(tx),
        progress=row.progress,
        error=row.error,
        finished_at=row.finished_at,
    )
