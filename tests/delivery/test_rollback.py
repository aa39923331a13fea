from collections.abc import Callable
from functools import partial

import pytest
from tests.delivery.conftest import add_version

from headrace.delivery import releases, rollback
from headrace.delivery.machine import Abort, EndCooling, Phase, Promote
from headrace.delivery.nouns import OpenRelease, Release, Rollback, RollbackRequest
from headrace.errors import Conflict, InvalidInput, NotFound, Pinned
from headrace.kernel import events
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import models, removal, stages
from headrace.serving import routing

OpenTo = Callable[[int], Release]


def roll_back(database: SqliteDatabase, **values: int) -> Rollback:
    """As the command line does: what is to be left is what was seen to have the traffic."""
    if not values:
        seen = database.read(lambda tx: rollback.look(tx, "churn"))
        values = {"expected": seen.left or 0}
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
    with pytest.raises(Conflict, match="version 2 has the traffic, not version 1"):
        roll_back(churn, expected=1)
    assert roll_back(churn, expected=2).now == 1
    with pytest.raises(Conflict):
        roll_back(churn, expected=2)


def test_going_to_a_named_version_twice_is_going_once(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    complete(2)
    assert roll_back(churn, to=1).left == 2
    head = churn.read(events.head)
    again = roll_back(churn, to=1)
    assert (again.left, again.now, again.release_id, again.resident) == (1, 1, None, True)
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


def test_a_rollback_says_what_it_would_do(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    complete(2)
    assert look(churn) == (2, 1, None, False)  # version 1 is not loaded any more
    add_version(churn, "r3")
    release = release_to_traffic(3)
    assert look(churn) == (3, 2, release.id, True)
    assert served(churn) == (2, 2)


def look(database: SqliteDatabase) -> tuple[int | None, int | None, str | None, bool]:
    found = database.read(lambda tx: rollback.look(tx, "churn"))
    return found.left, found.now, found.release_id, found.resident


def test_a_rollback_names_what_it_leaves_or_where_it_goes(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    complete(2)
    with pytest.raises(InvalidInput, match="names the version"):
        churn.write(lambda tx: rollback.roll_back(tx, "churn", RollbackRequest()), actor="op")
    assert served(churn) == (2, 2)


def test_two_who_see_the_same_trouble_go_back_once(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    complete(2)
    add_version(churn, "r3")
    release_to_traffic(3)
    seen = churn.read(lambda tx: rollback.look(tx, "churn"))
    assert seen.left is not None
    assert roll_back(churn, expected=seen.left).now == 2
    with pytest.raises(Conflict, match="version 2 has the traffic"):
        roll_back(churn, expected=seen.left)
    assert served(churn) == (2, 2)


def test_the_way_back_leaves_out_what_was_rolled_back(churn: SqliteDatabase, complete: OpenTo) -> None:
    for run_id in ("r3", "r4"):
        add_version(churn, run_id)
    complete(1)
    complete(2)
    assert roll_back(churn).now == 1
    complete(3)
    assert roll_back(churn).now == 1
    assert roll_back(churn, to=2).now == 2  # whoever names it may have it
    complete(4)
    assert roll_back(churn).now == 2
    assert roll_back(churn).now == 1


def test_a_version_that_was_deleted_is_no_way_back(database: SqliteDatabase) -> None:
    """Of a model that no project delivers; its name may be given again, and its numbers with it."""
    database.write(lambda tx: models.create(tx, "churn"), actor="ana")
    for number in (1, 2, 3):
        add_version(database, f"r{number}")
        asked = OpenRelease(model="churn", number=number)
        release = database.write(partial(releases.open_release, asked=asked), actor="cy")
        for command in (Promote(), EndCooling()):
            database.write(partial(releases.execute, release_id=release.id, command=command), actor="op")
    database.write(lambda tx: removal.delete_version(tx, "churn", 2), actor="ana")
    with pytest.raises(NotFound):
        roll_back(database, to=2)
    assert roll_back(database).now == 1


def test_the_versions_of_an_open_release_cannot_be_deleted(database: SqliteDatabase) -> None:
    database.write(lambda tx: models.create(tx, "churn"), actor="ana")
    add_version(database, "r1")
    release = database.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=1)), actor="cy")
    with pytest.raises(Pinned, match=release.id):
        database.write(lambda tx: removal.delete_version(tx, "churn", 1), actor="ana")
    database.write(lambda tx: releases.execute(tx, release.id, Abort()), actor="op")
    database.write(lambda tx: removal.delete_version(tx, "churn", 1), actor="ana")


def test_a_first_version_goes_back_to_nothing(churn: SqliteDatabase, release_to_traffic: OpenTo) -> None:
    release = release_to_traffic(1)
    assert look(churn) == (1, None, release.id, True)
    assert roll_back(churn, expected=1).now is None
    with pytest.raises(NotFound):
        churn.read(lambda tx: routing.get(tx, "churn"))
    with pytest.raises(Conflict, match="nothing has traffic"):
        roll_back(churn, expected=1)


def test_what_is_left_may_be_the_champion_of_an_open_rollout(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    complete(2)
    add_version(churn, "r3")
    release = release_to_traffic(3)
    done = roll_back(churn, expected=2)
    assert (done.left, done.now, done.release_id) == (2, 1, release.id)
    assert churn.read(lambda tx: releases.get(tx, release.id)).phase is Phase.ROLLED_BACK
    assert served(churn) == (1, 1)


def test_reasons_are_kept(churn: SqliteDatabase, complete: OpenTo) -> None:
    complete(1)
    complete(2)
    asked = RollbackRequest(expected=2, reason="complaints from sales")
    churn.write(lambda tx: rollback.roll_back(tx, "churn", asked), actor="op")
    told = churn.read(lambda tx: events.of_subject(tx, "model/churn"))[-1]
    assert (told.actor, told.payload["left"], told.payload["now"]) == ("op", 2, 1)
    assert told.payload["reason"] == "complaints from sales"
    moves = churn.read(lambda tx: stages.history(tx, "churn"))
    assert "complaints from sales" in {move.reason for move in moves if move.number == 1}
