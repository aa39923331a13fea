"""Routes: one order of changes, idempotent, an event each, and everything a gateway needs inside."""

from typing import Any

import pytest
from tests.conftest import START

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import business_time, events
from headrace.kernel.database import Database, Tx
from headrace.registry import models, register
from headrace.registry.nouns import ModelFile, RegisterVersion, directory_digest
from headrace.serving import routing
from headrace.serving.nouns import Route, RouteChange, RouteRemoved, RouteSet

pytestmark = pytest.mark.both_databases

FILES = (ModelFile(path="MLmodel", digest="sha256:" + "0" * 64, size_bytes=1),)


def add_versions(tx: Tx, model: str = "churn", count: int = 3) -> None:
    models.ensure(tx, model)
    for number in range(count):
        register.register_version(tx, RegisterVersion(model=model, files=FILES, source=f"elsewhere/{number}"))


def set_route(database: Database, model: str = "churn", **change: Any) -> Route:
    wanted = RouteChange(model=model, **change)
    return database.write(lambda tx: routing.set_route(tx, wanted), actor="ana")


@pytest.fixture(autouse=True)
def registered(database: Database) -> None:
    database.write(add_versions, actor="ana")


def test_a_route_holds_what_gateways_need_of_each_version_once(database: Database) -> None:
    route = set_route(
        database, champion=1, challenger=2, weight_percent=5.0, release_id="rel_1", step=0, resident=(1, 3)
    )
    assert [version.number for version in route.versions] == [1, 2, 3]
    assert route.versions[0].files == FILES
    assert route.versions[0].digest == directory_digest(FILES)
    assert (route.salt, route.sequence) == ("rel_1", 1)
    assert database.read(lambda tx: routing.get(tx, "churn")) == route


def test_setting_what_is_set_changes_nothing(database: Database) -> None:
    first = set_route(database, champion=1)
    assert set_route(database, champion=1) == first
    recorded = database.read(lambda tx: events.after(tx, 0, types=["serving.route_set"]))
    assert [event.subject for event in recorded] == ["route/churn"]
    assert recorded[0].payload["champion"] == 1


def test_every_change_takes_the_next_place_in_one_order(database: Database) -> None:
    database.write(lambda tx: add_versions(tx, "fraud", 1), actor="ana")
    sequences = [
        set_route(database, champion=1).sequence,
        set_route(database, "fraud", champion=1).sequence,
        set_route(database, champion=2).sequence,
    ]
    assert sequences == [1, 2, 3]
    snapshot = database.read(lambda tx: routing.snapshot(tx, None))
    assert snapshot.sequence == 3
    assert [(route.model, route.champion) for route in snapshot.routes] == [("fraud", 1), ("churn", 2)]
    assert [line.sequence for line in database.read(lambda tx: routing.changes(tx, 1))] == [2, 3]


def test_the_salt_stays_within_a_release_and_after_it(database: Database) -> None:
    assert set_route(database, champion=1).salt == "churn"
    steps = [
        set_route(database, champion=1, challenger=2, weight_percent=weight, release_id="rel_7", step=step).salt
        for step, weight in enumerate((5.0, 50.0))
    ]
    assert steps == ["rel_7", "rel_7"]
    assert set_route(database, champion=2).salt == "rel_7"


def test_a_removed_route_is_told_to_gateways_and_may_come_back(database: Database) -> None:
    set_route(database, champion=1)
    for _ in range(2):
        database.write(lambda tx: routing.remove(tx, "churn"), actor="ana")
    assert database.read(lambda tx: routing.changes(tx, 1)) == (RouteRemoved(sequence=2, model="churn"),)
    assert database.read(routing.every) == ()
    with pytest.raises(NotFound):
        database.read(lambda tx: routing.get(tx, "churn"))
    again = set_route(database, champion=1)
    assert database.read(lambda tx: routing.changes(tx, 2)) == (RouteSet(sequence=3, route=again),)
    recorded = database.read(lambda tx: events.after(tx, 0, types=["serving.route_removed"]))
    assert len(recorded) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"champion": None},
        {"champion": 1, "weight_percent": 101.0},
        {"champion": 1, "weight_percent": -1.0},
        {"champion": 1, "challenger": 1},
    ],
)
def test_routes_that_make_no_sense_are_refused(database: Database, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        set_route(database, **change)


def test_a_version_that_is_not_registered_is_refused_and_nothing_is_changed(database: Database) -> None:
    with pytest.raises(NotFound):
        set_route(database, champion=9)
    assert database.read(lambda tx: routing.snapshot(tx, None)).sequence == 0


def test_a_staged_version_may_be_resident_alone(database: Database) -> None:
    route = set_route(database, champion=None, resident=(2,))
    assert (route.champion, [version.number for version in route.versions]) == (None, [2])


def test_the_business_clock_is_told_with_whether_a_replay_moves_it(database: Database) -> None:
    assert not database.read(routing.read_business_time).replayed
    database.write(lambda tx: business_time.move(tx, START), actor="ana")
    told = database.read(routing.read_business_time)
    assert (told.now, told.replayed) == (START, True)
