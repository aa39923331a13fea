"""What somebody needs is not deleted."""

import pytest

from headrace.errors import Pinned
from headrace.kernel import pins
from headrace.kernel.database import Database

pytestmark = pytest.mark.both_databases

LAKE = "lake/sources/purchases@3"


def pin(database: Database, resource: str, holder: str, workspace: str = "default") -> None:
    database.write(lambda tx: pins.pin(tx, resource, holder, "trained on it"), actor="ana", workspace=workspace)


def test_a_pinned_resource_is_not_deleted_and_the_holders_are_named(database: Database) -> None:
    for number in (2, 1, 1):
        pin(database, LAKE, f"version/churn/{number}")
    with pytest.raises(Pinned, match=r"version/churn/1 \(trained on it\); version/churn/2"):
        database.read(lambda tx: pins.require_unpinned(tx, LAKE))
    database.read(lambda tx: pins.require_unpinned(tx, "lake/sources/purchases@4"))


def test_the_last_holder_lets_go(database: Database) -> None:
    pin(database, LAKE, "version/churn/1")
    pin(database, LAKE, "version/churn/2")
    pin(database, "run/1", "version/churn/1")
    assert database.write(lambda tx: pins.release(tx, "version/churn/1"), actor="ana") == 2
    with pytest.raises(Pinned):
        database.read(lambda tx: pins.require_unpinned(tx, LAKE))
    assert database.write(lambda tx: pins.release(tx, "version/churn/2"), actor="ana") == 1
    assert database.write(lambda tx: pins.release(tx, "version/churn/2"), actor="ana") == 0
    database.read(lambda tx: pins.require_unpinned(tx, LAKE))


def test_workspaces_do_not_let_go_of_each_others_pins(database: Database) -> None:
    pin(database, LAKE, "version/churn/1")
    assert database.write(lambda tx: pins.release(tx, "version/churn/1"), actor="eve", workspace="other") == 0
    assert [pin.holder for pin in database.read(lambda tx: pins.pins_on(tx, LAKE))] == ["version/churn/1"]
