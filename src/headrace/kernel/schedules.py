"""Schedules: cron in business time, so that a replay fires what the months would have fired."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa
from cronsim import CronSim, CronSimError

from headrace.errors import InvalidInput
from headrace.kernel import business_time, jobs
from headrace.kernel.database import Tx, insert
from headrace.kernel.jobs import JobKind, P, R
from headrace.kernel.tables import schedules

MOST_AT_ONCE = 100


def next_firing(cron: str, after: datetime) -> datetime:
    """The first firing strictly after a moment.

    Raises:
        InvalidInput: the expression is not cron's.
    """
    try:
        return next(CronSim(cron, after))
    except (CronSimError, StopIteration) as error:
        raise InvalidInput(
            f"{cron!r} is not a cron expression that ever fires",
            where="cron",
            fix="Five fields: minute hour day month weekday, for example '0 3 * * 1'.",
        ) from error


def schedule(tx: Tx, name: str, kind: JobKind[P, R], payload: P, cron: str) -> None:
    """Enqueue `kind` at every firing of `cron` in business time, from now on; again replaces the former one.

    Each missed firing runs, in order, with its time in `Job.scheduled_for`.
    """
    business_now = business_time.business_now(tx)
    values = {
        "kind": kind.name,
        "payload": msgspec.json.encode(payload).decode(),
        "cron": cron,
        "next_at": next_firing(cron, business_now),
        "actor": tx.actor,
    }
    statement = insert(tx, schedules).values(workspace=tx.workspace, name=name, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=values))


def unschedule(tx: Tx, name: str) -> bool:
    """Stop a schedule; False when there was none."""
    result = tx.execute(schedules.delete().where(schedules.c.workspace == tx.workspace, schedules.c.name == name))
    return result.rowcount > 0


def due(tx: Tx) -> bool:
    """Whether a schedule of this workspace has a firing to run; a cheap look before a transaction is opened."""
    statement = sa.select(sa.func.min(schedules.c.next_at)).where(schedules.c.workspace == tx.workspace)
    first = tx.execute(statement).scalar_one_or_none()
    return first is not None and first <= business_time.business_now(tx)


def fire_due(tx: Tx, kinds: Mapping[str, JobKind[msgspec.Struct, msgspec.Struct]]) -> int:
    """Enqueue every firing up to business now, each once; returns how many jobs that made."""
    business_now = business_time.business_now(tx)
    statement = (
        sa.select(schedules)
        .where(schedules.c.workspace == tx.workspace, schedules.c.next_at <= business_now)
        .with_for_update()
    )
    fired = 0
    for row in tx.execute(statement).all():
        if row.kind not in kinds:  # of a program that has gone; it must not hold up the others
            unschedule(tx, row.name)
            continue
        at = row.next_at
        while at <= business_now and fired < MOST_AT_ONCE:
            jobs.enqueue_raw(
                tx.acting_as(row.actor),
                kinds[row.kind],
                row.payload,
                key=f"schedule/{row.name}@{at.isoformat()}",
                lane=f"schedule/{row.name}",
                scheduled_for=at,
            )
            fired += 1
            at = next_firing(row.cron, at)
        tx.execute(
            schedules.update()
            .where(schedules.c.workspace == tx.workspace, schedules.c.name == row.name)
            .values(next_at=at)
        )
    return fired
