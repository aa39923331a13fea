"""Wall clocks that jump, at every phase of a release: no timer is lost, and time alone proves nothing."""

from datetime import timedelta

import pytest
from tests.delivery.world import World, quietly

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import ReleaseAction
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database

JUMPS = [timedelta(days=3650), timedelta(days=-3650), timedelta(seconds=-20)]
PATIENCE = timedelta(hours=5)
TICK = timedelta(minutes=10)


def lead_to(world: World, phase: Phase) -> None:
    world.open(2)
    while (release := world.last()) is not None and release.phase is not phase:
        world.go_on()


def live(world: World) -> Phase:
    """Everybody does what is theirs, again and again, until the release is over or patience is."""
    waited = timedelta()
    while (release := world.last()) is not None and not release.state.final:
        assert waited < PATIENCE, release
        waited += TICK
        world.clock.advance(TICK)
        world.fail_what_lapsed()
        world.do_a_job(passed=True)
        if release.state.paused:  # a request that lapsed is asked for again
            world.command(ReleaseAction.RESUME)
        quietly(lambda: world.answer(grant=True))
        world.hear()
        world.serve(100_000)
        world.look()
        world.check()
    assert release is not None
    return release.phase


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize(
    "phase", [Phase.GATING, Phase.STAGING, Phase.AWAITING_APPROVAL, Phase.ROLLING_OUT, Phase.COOLING]
)
def test_a_release_comes_to_its_end(database: Database, clock: ManualClock, phase: Phase, jump: timedelta) -> None:
    world = World(database, clock, "default").begin()
    world.deliver(1)
    lead_to(world, phase)
    world.stop_a_worker()  # it dies with its lease
    clock.advance(jump)
    assert live(world) is Phase.COMPLETED
    world.check_all()


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_time_alone_promotes_nothing(database: Database, clock: ManualClock, jump: timedelta) -> None:
    world = World(database, clock, "default").begin()
    lead_to(world, Phase.ROLLING_OUT)
    clock.advance(jump)
    for _ in range(3):
        world.look()
        clock.advance(timedelta(days=365))
    release = world.last()
    assert release is not None
    assert release.phase is Phase.ROLLING_OUT


def test_a_jump_back_while_cooling_cools_from_then_on(database: Database, clock: ManualClock) -> None:
    world = World(database, clock, "default").begin()
    lead_to(world, Phase.COOLING)
    clock.advance(timedelta(days=-1))
    world.look()
    clock.advance(timedelta(minutes=59))
    world.look()
    release = world.last()
    assert release is not None
    assert release.phase is Phase.COOLING
    clock.advance(timedelta(minutes=1))
    world.look()
    release = world.last()
    assert release is not None
    assert release.phase is Phase.COMPLETED
