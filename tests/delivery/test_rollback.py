from collections.abc import Callable

import pytest
from tests.delivery.conftest import add_version

from headrace.delivery import releases, rollback
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import OpenRelease, Release, Rollback, RollbackRequest
from headrace.errors import Conflict
from headrace.kernel import events
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import stages
from headrace.serving import routing

OpenTo = Callable[[int], Release]


def roll_back(database: SqliteDatabase, **values: int) -> Rollback:
    return database.write(lambda tx: rollback.roll_back(tx, "churn", RollbackRequest(**values)), actor="op")  # type: ignore[arg-type]


def served(database: SqliteDatabase) -> tuple[int | None, int | None]:
    production = database.read(lambda tx: stages.production(tx, "churn"))
    route = database.read(lambda tx: routing.get(tx, "churn"))
    return (None if production is None else production.number), route.champion


def test_going_back_step_by_step(churn: SqliteDatabase, complete: OpenTo) -> None:
    add_version(churn, "r3")
    for number in [1, 2, 3]:
        complete(number)
    assert roll_back(churn).now == 2
    assert served(churn) == (2, 2)
    assert roll_back(churn).now == 1
    assert served(churn) == (1, 1)
    with pytest.raises(Conflict, match="no earlier version"):
        roll_back(churn)
    assert served(churn) == (1, 1)


def test_compare_and_set(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    complete(2)
    with pytest.raises(Conflict, match="version 2 is in production, not 1"):
        roll_back(churn, expected=1)
    assert roll_back(churn, expected=2).now == 1
    with pytest.raises(Conflict):
        roll_back(churn, expected=2)


def test_going_to_a_named_version_twice_is_going_once(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    complete(2)
    assert roll_back(churn, to=1).left == 2
    head = churn.read(events.head)
    assert roll_back(churn, to=1) == Rollback(model="churn", left=1, now=1)
    assert churn.read(events.head) == head


def test_only_versions_whose_release_completed_are_a_way_back(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    with pytest.raises(Conflict, match="never completed"):
        roll_back(churn, to=2)


def test_an_open_rollout_is_rolled_back(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    done = roll_back(churn)
    assert (done.left, done.now, done.release_id) == (2, 1, release.id)
    assert churn.read(lambda tx: releases.get(tx, release.id)).phase is Phase.ROLLED_BACK
    assert served(churn) == (1, 1)


def test_a_release_without_traffic_is_aborted_with_it(churn: SqliteDatabase, complete: OpenTo) -> None:
    add_version(churn, "r3")
    complete(1)
    complete(2)
    opened = churn.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=3)), actor="cy")
    assert roll_back(churn).now == 1
    assert churn.read(lambda tx: releases.get(tx, opened.id)).phase is Phase.ABORTED
    assert served(churn) == (1, 1)
