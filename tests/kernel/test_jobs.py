"""Jobs: claimed once, settled exactly once, retried with back-off, delayed on either clock, in lanes."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headrace.errors import LeaseLost
from headrace.kernel import business_time, events, jobs, schedules
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.kernel.jobs import Handling, Job, JobKind

pytestmark = pytest.mark.both_databases


class Order(msgspec.Struct, frozen=True, kw_only=True):
    number: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    total: int


BAKE: JobKind[Order, Receipt] = JobKind(name="test.bake", payload=Order, result=Receipt, lease_s=30, max_attempts=3)


def settle(tx: Tx, job: Job, receipt: Receipt) -> None:
    events.append(tx, "test.cake_baked", f"cake/{receipt.total}", {"by": tx.actor})


def failed(tx: Tx, job: Job, error: str) -> None:
    events.append(tx, "test.cake_burnt", f"cake/{job.id}", {"error": error})


HANDLING = Handling(BAKE, settle, failed)


def enqueue(database: Database, number: int = 1, **options: object) -> str:
    return database.write(
        lambda tx: jobs.enqueue(tx, BAKE, Order(number=number), **options),  # type: ignore[arg-type]
        actor="ana",
    )


def claim(database: Database, worker: str = "worker-1") -> Job | None:
    return database.write(lambda tx: jobs.claim(tx, worker, [BAKE.name]), actor="system")


def claimed(database: Database, worker: str = "worker-1") -> tuple[Job, str]:
    job = claim(database, worker)
    assert job is not None
    assert job.lease is not None
    return job, job.lease


def finish(database: Database, job: Job, lease: str, total: int = 7) -> None:
    body = msgspec.to_builtins(Receipt(total=total))
    database.write(lambda tx: jobs.settle(tx, HANDLING, job.id, lease, body), actor="system")


def types(database: Database) -> list[str]:
    return [event.type for event in database.read(lambda tx: events.after(tx, 0))]


def test_a_job_is_claimed_by_one_worker_and_settled_as_who_asked_for_it(database: Database) -> None:
    enqueue(database)
    job, lease = claimed(database)
    assert claim(database, "worker-2") is None
    assert msgspec.json.decode(job.payload, type=Order) == Order(number=1)
    finish(database, job, lease)
    (event,) = database.read(lambda tx: events.after(tx, 0))
    assert (event.type, event.actor) == ("test.cake_baked", "ana")
    with pytest.raises(LeaseLost):
        finish(database, job, lease)


def test_a_key_is_enqueued_once_whatever_became_of_the_first(database: Database) -> None:
    first = enqueue(database, key="cake/1")
    assert enqueue(database, 2, key="cake/1") == first
    job, lease = claimed(database)
    finish(database, job, lease)
    assert enqueue(database, 3, key="cake/1") == first
    assert claim(database) is None


def test_a_paused_worker_loses_its_lease_and_its_result(database: Database, clock: ManualClock) -> None:
    enqueue(database)
    paused, old_lease = claimed(database, "worker-1")
    clock.advance(timedelta(seconds=31))
    second, new_lease = claimed(database, "worker-2")
    assert second.attempt == 2
    with pytest.raises(LeaseLost):
        finish(database, paused, old_lease)
    with pytest.raises(LeaseLost):
        database.write(lambda tx: jobs.heartbeat(tx, paused.id, old_lease), actor="system")
    finish(database, second, new_lease)
    assert types(database) == ["test.cake_baked"]


def test_heartbeats_keep_the_lease_and_tell_the_progress(database: Database, clock: ManualClock) -> None:
    enqueue(database)
    job, lease = claimed(database)
    for _ in range(4):
        clock.advance(timedelta(seconds=20))
        database.write(lambda tx: jobs.heartbeat(tx, job.id, lease, {"fraction": 0.5}), actor="system")
    assert claim(database, "worker-2") is None
    assert database.read(lambda tx: jobs.get(tx, job.id)).progress == {"fraction": 0.5}


def test_failures_back_off_and_then_end_the_job(database: Database, clock: ManualClock) -> None:
    enqueue(database)
    for attempt in range(1, 4):
        job, lease = claimed(database)
        assert job.attempt == attempt
        database.write(
            lambda tx, job=job, lease=lease: jobs.fail(tx, HANDLING, job.id, lease, "burnt", retry=True),  # type: ignore[misc]
            actor="system",
        )
        assert claim(database) is None
        clock.advance(timedelta(minutes=10))
    assert claim(database) is None
    assert types(database) == ["test.cake_burnt", "kernel.job_failed"]


def test_a_failure_that_no_retry_can_help_ends_the_job_at_once(database: Database) -> None:
    enqueue(database)
    job, lease = claimed(database)
    database.write(lambda tx: jobs.fail(tx, HANDLING, job.id, lease, "no eggs", retry=False), actor="system")
    assert database.read(lambda tx: jobs.get(tx, job.id)).state == jobs.FAILED


def test_a_worker_that_vanishes_on_the_last_attempt_fails_the_job(database: Database, clock: ManualClock) -> None:
    enqueue(database)
    for _ in range(3):
        claimed(database)
        clock.advance(timedelta(seconds=31))
    assert claim(database) is None
    assert database.write(lambda tx: jobs.expire(tx, {BAKE.name: HANDLING}), actor="system") == 1
    assert types(database) == ["test.cake_burnt", "kernel.job_failed"]


def test_a_job_of_a_kind_that_is_gone_holds_up_no_other(database: Database, clock: ManualClock) -> None:
    forgotten: JobKind[Order, Receipt] = JobKind(name="test.fry", payload=Order, result=Receipt, max_attempts=1)
    database.write(lambda tx: jobs.enqueue(tx, forgotten, Order(number=1)), actor="ana")
    database.write(lambda tx: jobs.claim(tx, "worker-1", [forgotten.name]), actor="system")
    clock.advance(timedelta(seconds=31))
    enqueue(database)
    for _ in range(3):
        claimed(database)
        clock.advance(timedelta(seconds=31))
    assert database.write(lambda tx: jobs.expire(tx, {BAKE.name: HANDLING}), actor="system") == 2
    assert types(database) == ["kernel.job_failed", "test.cake_burnt", "kernel.job_failed"]


def test_a_failure_that_cannot_be_handled_holds_up_no_other(database: Database, clock: ManualClock) -> None:
    stubborn: JobKind[Order, Receipt] = JobKind(name="test.fry", payload=Order, result=Receipt, max_attempts=1)

    def explode(tx: Tx, job: Job, error: str) -> None:
        events.append(tx, "test.half_done", f"cake/{job.id}", {})
        raise RuntimeError(error)

    handlings = {BAKE.name: HANDLING, stubborn.name: Handling(stubborn, settle, explode)}
    database.write(lambda tx: jobs.enqueue(tx, stubborn, Order(number=1)), actor="ana")
    database.write(lambda tx: jobs.claim(tx, "worker-1", [stubborn.name]), actor="system")
    enqueue(database)
    for _ in range(3):
        clock.advance(timedelta(seconds=31))
        claimed(database)
    clock.advance(timedelta(seconds=31))
    assert database.write(lambda tx: jobs.expire(tx, handlings), actor="system") == 1
    assert types(database) == ["test.cake_burnt", "kernel.job_failed"]
    assert database.read(jobs.lapsed)  # and is tried again


def test_a_job_that_nobody_needs_any_more_ends(database: Database) -> None:
    enqueue(database, key="bake/1")
    job, lease = claimed(database)
    assert database.write(lambda tx: jobs.cancel(tx, "bake/1", "the feast is off"), actor="ana")
    ended = database.read(lambda tx: jobs.get(tx, job.id))
    assert (ended.state, ended.error) == (jobs.CANCELLED, "the feast is off")
    with pytest.raises(LeaseLost):
        database.write(lambda tx: jobs.heartbeat(tx, job.id, lease), actor="system")
    with pytest.raises(LeaseLost):
        database.write(lambda tx: jobs.settle(tx, HANDLING, job.id, lease, {"total": 1}), actor="system")
    assert not database.write(lambda tx: jobs.cancel(tx, "bake/1", "again"), actor="ana")
    assert claim(database) is None


def test_a_lease_of_a_clock_that_was_ahead_lapses(database: Database, clock: ManualClock) -> None:
    """Its worker died; by the clock as it is now, the lease would go on for a year."""
    clock.advance(timedelta(days=365))
    enqueue(database)
    claimed(database)
    clock.advance(timedelta(days=-365))
    assert claimed(database, "worker-2")[0].attempt == 2


def test_a_clock_that_is_set_back_a_little_takes_no_lease_away(database: Database, clock: ManualClock) -> None:
    enqueue(database)
    job, lease = claimed(database)
    clock.advance(timedelta(seconds=-29))
    assert claim(database, "worker-2") is None
    database.write(lambda tx: jobs.settle(tx, HANDLING, job.id, lease, {"total": 1}), actor="system")


def test_a_retry_of_a_clock_that_was_ahead_is_due(database: Database, clock: ManualClock) -> None:
    enqueue(database)
    job, lease = claimed(database)
    database.write(lambda tx: jobs.fail(tx, HANDLING, job.id, lease, "no oven", retry=True), actor="system")
    assert claim(database) is None
    clock.advance(timedelta(days=-365))
    assert claimed(database)[0].attempt == 2


def test_a_restarted_worker_gives_back_what_its_former_self_held(database: Database) -> None:
    enqueue(database)
    job, lease = claimed(database)
    assert database.write(lambda tx: jobs.abandon(tx, "worker-1"), actor="system") == 1
    with pytest.raises(LeaseLost):
        finish(database, job, lease)
    assert claimed(database)[0].attempt == 2


def test_delays_on_either_clock(database: Database, clock: ManualClock) -> None:
    enqueue(database, not_before=clock.now() + timedelta(hours=1))
    assert claim(database) is None
    clock.advance(timedelta(hours=1))
    assert claim(database) is not None

    database.write(lambda tx: business_time.move(tx, datetime(1997, 8, 1, tzinfo=UTC)), actor="ana")
    enqueue(database, 2, not_before_business=datetime(1998, 3, 1, tzinfo=UTC))
    assert claim(database) is None
    database.write(lambda tx: business_time.move(tx, datetime(1998, 3, 1, tzinfo=UTC)), actor="ana")
    assert claim(database) is not None


def test_a_lane_runs_one_at_a_time_in_order(database: Database) -> None:
    first = enqueue(database, 1, lane="churn")
    second = enqueue(database, 2, lane="churn")
    other = enqueue(database, 3, lane="credit")
    job, lease = claimed(database)
    assert job.id == first
    assert claimed(database)[0].id == other
    assert claim(database) is None
    finish(database, job, lease)
    assert claimed(database)[0].id == second


def test_a_schedule_fires_every_missed_time_in_business_time_once(database: Database) -> None:
    database.write(lambda tx: business_time.move(tx, datetime(1997, 8, 1, tzinfo=UTC)), actor="ana")
    database.write(lambda tx: schedules.schedule(tx, "monthly", BAKE, Order(number=1), "0 0 1 * *"), actor="ana")
    kinds = {BAKE.name: BAKE}
    assert database.write(lambda tx: schedules.fire_due(tx, kinds), actor="system") == 0  # type: ignore[arg-type]
    database.write(lambda tx: business_time.move(tx, datetime(1997, 10, 15, tzinfo=UTC)), actor="ana")
    assert database.read(schedules.due)
    assert database.write(lambda tx: schedules.fire_due(tx, kinds), actor="system") == 2  # type: ignore[arg-type]
    assert database.write(lambda tx: schedules.fire_due(tx, kinds), actor="system") == 0  # type: ignore[arg-type]
    september, lease = claimed(database)
    assert september.scheduled_for == datetime(1997, 9, 1, tzinfo=UTC)
    assert claim(database) is None  # October waits for September: one lane
    finish(database, september, lease)
    assert claimed(database)[0].scheduled_for == datetime(1997, 10, 1, tzinfo=UTC)


def test_a_schedule_of_a_kind_that_has_gone_holds_up_nobody(database: Database) -> None:
    database.write(lambda tx: business_time.move(tx, datetime(1997, 8, 1, tzinfo=UTC)), actor="ana")
    gone: JobKind[Order, Receipt] = JobKind(name="test.gone", payload=Order, result=Receipt)
    for name, kind in (("a", gone), ("b", BAKE)):
        database.write(
            lambda tx, name=name, kind=kind: schedules.schedule(tx, name, kind, Order(number=1), "0 0 1 * *"),  # type: ignore[misc]
            actor="ana",
        )
    database.write(lambda tx: business_time.move(tx, datetime(1997, 9, 1, tzinfo=UTC)), actor="ana")
    assert database.write(lambda tx: schedules.fire_due(tx, {BAKE.name: BAKE}), actor="system") == 1  # type: ignore[dict-item]
    assert not database.read(schedules.due)
