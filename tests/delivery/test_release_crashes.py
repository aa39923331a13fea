"""Killed at every statement of every transaction of a release, and what was done is done again: once.

A statement is where a process can die with a transaction half written. That the database then keeps nothing of it
is its own promise; that trying again does everything once is tested here. Real processes are killed in tests/loop.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from tests.delivery.world import COOLING, MODEL, World, attempt

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import ReleaseAction
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.kernel.schema import metadata

pytestmark = pytest.mark.both_databases


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Kills the writer at its n-th statement; counts them while it is told no number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen = 0
        self.at: int | None = None
        for name in ("execute", "execute_driver"):
            monkeypatch.setattr(Tx, name, self._watched(getattr(Tx, name)))

    def arm(self, at: int | None) -> None:
        self.seen, self.at = 0, at

    def _watched(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def execute(tx: Tx, *arguments: Any, **named: Any) -> Any:
            if threading.current_thread().name == "database-writer":
                self.seen += 1
                if self.seen == self.at:
                    raise Killed
            return run(tx, *arguments, **named)

        return execute


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


TOUCHED = (
    "cursors", "delivery_releases", "events", "jobs", "pins", "registry_approvals", "registry_evidence",
    "registry_stage_history", "registry_versions", "serving_route_sequence", "serving_routes",
)  # fmt: skip
"""What releases write to."""


def contents(world: World) -> dict[str, list[Any]]:
    """Everything that releases store."""

    def look(tx: Tx) -> dict[str, list[Any]]:
        tables = [metadata.tables[name] for name in TOUCHED]
        return {table.name: sorted(map(tuple, tx.execute(sa.select(table))), key=str) for table in tables}

    return world.read(look)


def survive(world: World, killer: Killer, act: Callable[[], object], *, again: bool = True) -> None:
    """Die at each statement of an act, find nothing of it, then do it, and once more."""
    before = contents(world)
    at = 1
    while True:
        killer.arm(at)
        try:
            act()
        except Killed:
            assert contents(world) == before, f"statement {at}"
            at += 1
        else:
            break
        finally:
            killer.arm(None)
    assert at > 3
    after = contents(world)
    assert after != before
    if again:
        attempt(act)  # whoever was killed before the answer came sends it again
        assert contents(world) == after


def test_a_whole_release_and_the_way_back(database: Database, clock: ManualClock, killer: Killer) -> None:
    world = World(database, clock, "default").begin()
    world.deliver(1)
    survive(world, killer, partial(world.open, 2))
    for _ in ("gates", "staging"):
        job = world.claim()
        assert job is not None
        survive(world, killer, partial(world.settle, job, passed=True))
    survive(world, killer, world.answer_last)
    for hear in world.hearers():
        survive(world, killer, hear)
    while (release := world.last()) is not None and not release.state.final:
        world.serve(100_000)
        clock.advance(COOLING)
        while world.needs_a_look():
            survive(world, killer, world.evaluate, again=False)  # a new step's evidence comes next
    assert release is not None
    assert release.phase is Phase.COMPLETED
    survive(world, killer, partial(world.roll_back, expected=2))
    world.check_all()


@pytest.mark.parametrize(
    ("phase", "action"),
    [
        (Phase.AWAITING_APPROVAL, ReleaseAction.PAUSE),
        (Phase.AWAITING_APPROVAL, ReleaseAction.ABORT),
        (Phase.ROLLING_OUT, ReleaseAction.PROMOTE),
        (Phase.COOLING, ReleaseAction.ROLL_BACK),
    ],
)
def test_a_command(
    database: Database, clock: ManualClock, killer: Killer, phase: Phase, action: ReleaseAction
) -> None:
    world = World(database, clock, "default").begin()
    world.open(1)
    while (release := world.last()) is not None and release.phase is not phase:
        world.go_on()
    survive(world, killer, partial(world.command, action, release))
    world.check_all()


def test_a_rollback_that_ends_an_open_release(database: Database, clock: ManualClock, killer: Killer) -> None:
    world = World(database, clock, "default").begin()
    world.deliver(1)
    world.deliver(2)
    world.open(3)
    survive(world, killer, partial(world.roll_back, expected=2))
    assert world.every_release()[0].phase is Phase.ABORTED
    world.check_all()


def test_the_world_is_what_is_stored(database: Database, clock: ManualClock) -> None:
    """Or the comparison above would compare nothing."""
    world = World(database, clock, "default").begin()
    world.open(1)
    stored = contents(world)
    assert len(stored["delivery_releases"]) == 1
    assert len(stored["jobs"]) == 2
    assert any(MODEL in str(row) for row in stored["events"])
