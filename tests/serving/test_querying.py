"""Queries: asked in a transaction, answered by a job, forgotten after a day."""

from datetime import timedelta

import msgspec
import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.serving import querying
from headrace.serving.feedback import JOIN
from headrace.serving.feedback_nouns import JoinRequest
from headrace.serving.query_nouns import Answer, Asked, Query

pytestmark = pytest.mark.both_databases


def ask(database: Database) -> Asked:
    return database.write(lambda tx: querying.ask(tx, Query(sql="SELECT 1")), actor="ana")


def settle(database: Database, answer: Answer) -> None:
    job = database.write(lambda tx: jobs.claim(tx, "worker", [querying.QUERY.name]), actor="system")
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
