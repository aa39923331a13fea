"""Calls at one moment through two control processes: one request, one use of it, and no fault of the platform."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.errors import ApprovalNeeded, Conflict
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Blocking, Database
from headrace.kernel.postgresql import PostgresDatabase
from headrace.registry import approvals, stages
from headrace.registry.nouns import ApprovalStatus, Stage

pytestmark = pytest.mark.both_databases

Office = Any  # the fixture's class lives in conftest.py, which is no module to import from

ROUNDS = 6
CALLERS = 4


@pytest.fixture
def controls(request: pytest.FixtureRequest, database: Database, clock: ManualClock) -> Iterator[list[Database]]:
    """The control processes: one on SQLite, two on PostgreSQL."""
    if not isinstance(database, PostgresDatabase):
        yield [database]
        return
    second = PostgresDatabase(request.getfixturevalue("postgresql_url"), clock=clock)
    yield [database, second]
    second.close()


def at_once(controls: list[Database], work: Callable[[Any], object]) -> list[type[BaseException] | None]:
    """Do the same through each process at the same moment; what each call was refused with."""
    ready = threading.Barrier(CALLERS)

    def call(place: int) -> type[BaseException] | None:
        door = Blocking(controls[place % len(controls)], actor="cy")
        ready.wait()
        try:
            door.write(work)
        except Exception as problem:  # noqa: BLE001 - what it is is looked at below
            return type(problem)
        return None

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(call, range(CALLERS)))


def test_calls_at_once_file_one_request_and_use_it_once(office: Office, controls: list[Database]) -> None:
    office.policy(approvals=1)
    office.policy(stage=Stage.ARCHIVED, approvals=0)
    for number in (1, 2) * (ROUNDS // 2):
        move = office.to(Stage.PRODUCTION, number, archive_existing=True)
        assert set(at_once(controls, move)) == {ApprovalNeeded}
        asked = office.decide("bo")  # there is one that waits, and no other
        outcomes = at_once(controls, move)
        assert None in outcomes
        assert set(outcomes) <= {None, Conflict, ApprovalNeeded}
        assert office.stage(number) is Stage.PRODUCTION
        used = [
            change
            for change in office.read(lambda tx: stages.history(tx, "churn"))
            if change.grounds == f"approval {asked.id}" and change.after is Stage.PRODUCTION
        ]
        assert len(used) == 1
        for left in office.read(lambda tx: approvals.search(tx, status=ApprovalStatus.REQUESTED)):
            office.act("cy", lambda tx, left=left: approvals.void_about(tx, "churn", left.number, "over"))
