"""Many at once, through one control process or two: what must hold, holds all the time, and one of a race wins."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from tests.delivery.world import MODEL, VERSIONS, World, attempt, chain_is_whole, quietly

from headrace.delivery import rollback
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import ReleaseAction
from headrace.errors import Conflict
from headrace.kernel import events
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.kernel.postgresql import PostgresDatabase

pytestmark = pytest.mark.both_databases

CALLERS = 6
ACTS = 150


@pytest.fixture
def controls(request: pytest.FixtureRequest, database: Database, clock: ManualClock) -> Iterator[list[Database]]:
    """The control processes: one on SQLite, two on PostgreSQL."""
    if not isinstance(database, PostgresDatabase):
        yield [database]
        return
    second = PostgresDatabase(request.getfixturevalue("postgresql_url"), clock=clock)
    yield [database, second]
    second.close()


@pytest.fixture
def world(database: Database, clock: ManualClock) -> World:
    return World(database, clock, "default").begin()


def at_once(acts: list[Callable[[], object]]) -> list[BaseException | None]:
    """Do all of them at the same moment; what each was refused with."""
    ready = threading.Barrier(len(acts))

    def act(one: Callable[[], object]) -> BaseException | None:
        ready.wait()
        return attempt(one)

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, acts))


def anything(world: World, choice: random.Random) -> None:
    """Something that somebody does."""
    acts: list[Callable[[], object]] = [
        lambda: world.open(choice.randint(1, VERSIONS)),
        lambda: world.do_a_job(passed=choice.random() < 0.8),
        world.stop_a_worker,
        lambda: world.go_on_after_a_stop(passed=choice.random() < 0.5),
        world.fail_what_lapsed,
        lambda: world.answer(grant=choice.random() < 0.8),
        world.hear,
        world.take_the_role,
        world.give_the_role,
        lambda: world.command(choice.choice(list(ReleaseAction))),
        lambda: world.serve(100_000),
        world.look,
        lambda: world.clock.advance(timedelta(seconds=choice.choice([1, 31, 3_600, -31]))),
        world.roll_back_as_seen,
        lambda: world.roll_back(to=choice.randint(1, VERSIONS)),
        *[world.go_on] * 12,
    ]
    quietly(choice.choice(acts))


def test_whoever_does_what_at_once_what_must_hold_holds(world: World, controls: list[Database]) -> None:
    def live(number: int) -> None:
        mine = world.through(controls[number % len(controls)])
        choice = random.Random(number)
        for _ in range(ACTS):
            anything(mine, choice)
            if number == 0:
                mine.check()  # a snapshot shows whole commits

    with ThreadPoolExecutor(CALLERS) as pool:
        for finished in [pool.submit(live, number) for number in range(CALLERS)]:
            finished.result()
    world.hear()
    world.check_all()
    assert len(world.every_release()) > 1  # how far the callers get is a matter of their turns
    assert chain_is_whole(world.database)


def test_two_releases_of_one_model_at_once_are_one(world: World, controls: list[Database]) -> None:
    callers = [(world.through(controls[at % len(controls)]), 1 + at % 2) for at in range(CALLERS)]
    told = at_once([lambda caller=caller, number=number: caller.open(number) for caller, number in callers])  # type: ignore[misc]
    (release,) = world.every_release()
    for (_, number), refused in zip(callers, told, strict=True):
        assert isinstance(refused, Conflict) == (number != release.number)
    world.check_all()


def test_many_who_see_the_same_trouble_go_back_once(world: World, controls: list[Database]) -> None:
    for number in (1, 2, 3):
        world.deliver(number)
    seen = world.read(lambda tx: rollback.look(tx, MODEL))
    assert (seen.left, seen.now) == (3, 2)
    callers = [world.through(controls[at % len(controls)]) for at in range(CALLERS)]
    told = at_once([lambda caller=caller: caller.roll_back(expected=seen.left) for caller in callers])  # type: ignore[misc]
    assert sum(refused is None for refused in told) == 1
    assert all(isinstance(refused, Conflict) for refused in told if refused is not None)
    told = at_once([lambda caller=caller: caller.roll_back(expected=3, to=2) for caller in callers])  # type: ignore[misc]
    assert told == [None] * CALLERS  # it is there already
    rolled = world.read(lambda tx: events.of_subject(tx, f"model/{MODEL}"))
    assert [event.payload["now"] for event in rolled if event.type == "delivery.model_rolled_back"] == [2]
    world.check_all()


def test_one_promotes_while_another_rolls_back(world: World, controls: list[Database]) -> None:
    """One of the two is first; the version is in production and then taken back, or never was."""
    world.deliver(1)
    for number in (2, 3, 4, 2, 3, 4):
        world.open(number)
        while (release := world.last()) is not None and release.phase is not Phase.ROLLING_OUT:
            world.go_on()
        promoter, other = world.through(controls[0]), world.through(controls[-1])
        at_once(
            [lambda: promoter.command(ReleaseAction.PROMOTE), lambda: other.command(ReleaseAction.ROLL_BACK)]  # noqa: B023
        )
        release = world.last()
        assert release is not None
        assert release.phase is Phase.ROLLED_BACK
        world.check_all()
