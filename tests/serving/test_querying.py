"""Queries: asked in a transaction, answered by a job, forgotten after a day."""

from datetime import timedelta

import msgspec
import pytest

from headrace.errors import InvalidInput, LeaseLost, NotFound, PermissionRefused
from headrace.kernel import jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.kernel.jobs import Job
from headrace.serving import querying
from headrace.serving.feedback import JOIN
from headrace.serving.feedback_nouns import JoinRequest
from headrace.serving.query_nouns import Answer, Asked, Query

pytestmark = pytest.mark.both_databases


def ask(database: Database, actor: str = "ana") -> Asked:
    return database.write(lambda tx: querying.ask(tx, Query(sql="SELECT 1")), actor=actor)


def claim(database: Database) -> Job | None:
    return database.write(lambda tx: jobs.claim(tx, "worker", [querying.QUERY.name]), actor="system")


def settle(database: Database, answer: Answer) -> None:
    job = claim(database)
    assert job is not None
    handling = querying.HANDLINGS[0]
    result = msgspec.to_builtins(answer)
    database.write(lambda tx: jobs.settle(tx, handling, job.id, job.lease or "", result), actor="system")


def test_an_answer_is_there_when_its_job_is_done(database: Database, clock: ManualClock) -> None:
    asked = ask(database)
    assert (asked.state, asked.answer) == ("queued", None)
    settle(database, Answer(digest="sha256:1", rows=3))
    found = database.read(lambda tx: querying.get(tx, asked.job_id))
    assert (found.state, found.answer) == ("done", Answer(digest="sha256:1", rows=3))
    clock.advance(timedelta(days=2))
    later = ask(database)
    settle(database, Answer(problem="no"))
    assert database.read(lambda tx: querying.get(tx, asked.job_id)).answer is None
    assert database.read(lambda tx: querying.get(tx, later.job_id)).answer == Answer(problem="no")


def test_another_kind_of_job_is_no_query(database: Database) -> None:
    job_id = database.write(lambda tx: jobs.enqueue(tx, JOIN, JoinRequest(batch=1)), actor="ana")
    with pytest.raises(NotFound):
        database.read(lambda tx: querying.get(tx, job_id))
    with pytest.raises(InvalidInput):
        database.write(lambda tx: querying.ask(tx, Query(sql="SELECT 1\x00")), actor="ana")
    with pytest.raises(NotFound):
        database.write(lambda tx: querying.cancel(tx, job_id), actor="ana")


def test_whoever_asked_sees_how_far_it_is(database: Database) -> None:
    asked = ask(database)
    assert (asked.done, asked.note) == (0.0, None)
    job = claim(database)
    assert job is not None
    told = {"fraction": 0.5, "note": "runs for 3 s"}
    database.write(lambda tx: jobs.heartbeat(tx, job.id, job.lease or "", told), actor="system")
    found = database.read(lambda tx: querying.get(tx, asked.job_id))
    assert (found.done, found.note) == (0.5, "runs for 3 s")


def test_whoever_asked_cancels_and_nobody_else(database: Database) -> None:
    asked = ask(database)
    job = claim(database)
    assert job is not None
    with pytest.raises(PermissionRefused):
        database.write(lambda tx: querying.cancel(tx, asked.job_id), actor="bob")
    database.write(lambda tx: querying.cancel(tx, asked.job_id), actor="ana")
    assert database.read(lambda tx: querying.get(tx, asked.job_id)).state == "cancelled"
    with pytest.raises(LeaseLost):  # which ends the query's process
        database.write(lambda tx: jobs.heartbeat(tx, job.id, job.lease or ""), actor="system")
    database.write(lambda tx: querying.cancel(tx, asked.job_id), actor="ana")  # to no effect


def test_one_asker_has_one_worker(database: Database) -> None:
    first, second, others = ask(database), ask(database), ask(database, "bob")
    claimed = [claim(database), claim(database), claim(database)]
    assert [job and job.id for job in claimed] == [first.job_id, others.job_id, None]
    database.write(lambda tx: querying.cancel(tx, first.job_id), actor="ana")
    after = claim(database)
    assert after is not None
    assert after.id == second.job_id
