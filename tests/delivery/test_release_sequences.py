"""Whatever people, workers, gateways and clocks do to a model's releases, in any order: what must hold, holds.

Through the real verbs, jobs and subscribers, on both databases, one after another here and at once below.
"""

import itertools
from datetime import timedelta

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.delivery.world import MODEL, VERSIONS, World, attempt, chain_is_whole, quietly

from headrace.delivery.machine import WITH_TRAFFIC, Phase
from headrace.delivery.nouns import ReleaseAction, Rollback
from headrace.errors import Conflict, LeaseLost, NotFound
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import stages

numbers = st.integers(1, VERSIONS)
BACK = 0
jumps_s = st.sampled_from([1, 9, 31, 3_600, 86_400 * 8, 86_400 * 400, -1, -31, -86_400, -86_400 * 400])


class WayBack:
    """Which version a rollback leads to: a list that is kept by hand."""

    def __init__(self) -> None:
        self.completed: list[tuple[int, bool]] = []
        """Number and whether it stands, the oldest first."""

    def add(self, number: int) -> None:
        self.completed.append((number, True))

    def before(self, present: int | None) -> int | None:
        """Where in the list production goes when the present version is left."""
        standing = [place for place, (_, stands) in enumerate(self.completed) if stands]
        mine = [place for place in standing if self.completed[place][0] == present]
        earlier = [place for place in standing if not mine or place < mine[-1]]
        others = [place for place in earlier if self.completed[place][0] != present]
        return others[-1] if others else None

    def last(self, number: int) -> int | None:
        places = [(stands, place) for place, (found, stands) in enumerate(self.completed) if found == number]
        return max(places)[1] if places else None

    def stand_at(self, place: int) -> None:
        self.completed = [
            (number, stands if at < place else at == place) for at, (number, stands) in enumerate(self.completed)
        ]


class Life(RuleBasedStateMachine):
    """One model's life; `begin` gives it a world of its own."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.way_back = WayBack()
        self.counted: set[str] = set()

    # -- what happens ---------------------------------------------------------------------------------------

    @initialize(
        past=st.lists(st.sampled_from([1, 2, 3, 4, BACK, BACK]), max_size=8),
        opened=st.sampled_from([None, 1, 2, 3, 4]),
        times=st.integers(0, 6),
    )
    def begin(self, past: list[int], opened: int | None, times: int) -> None:
        """Somewhere in the middle: versions were delivered, and rolled back."""
        for number in past:
            if number == BACK:
                self.go_back(None)
            else:
                self.deliver(number)
        if opened is not None:
            quietly(lambda: self.world.open(opened))
            self.go_on(times)

    @rule(number=numbers)
    def open(self, number: int) -> None:
        before = self.world.last()
        refused = attempt(lambda: self.world.open(number))
        if before is not None and not before.state.final and before.number != number:
            assert isinstance(refused, Conflict)

    @rule(times=st.integers(1, 6))
    def go_on(self, times: int) -> None:
        for _ in range(times):
            quietly(self.world.go_on)
            self.note()

    @rule(number=numbers)
    def deliver(self, number: int) -> None:
        """A whole release, so that there is a way back."""
        quietly(lambda: self.world.open(number))
        for _ in range(9):
            quietly(self.world.go_on)
            self.note()

    @rule(passed=st.booleans())
    def work(self, passed: bool) -> None:
        quietly(lambda: self.world.do_a_job(passed=passed))

    @rule()
    def stop_a_worker(self) -> None:
        self.world.stop_a_worker()

    @precondition(lambda self: self.world.held)
    @rule(passed=st.booleans())
    def go_on_after_a_stop(self, passed: bool) -> None:
        refused = attempt(lambda: self.world.go_on_after_a_stop(passed=passed))
        assert refused is None or isinstance(refused, LeaseLost)

    @rule()
    def fail_what_lapsed(self) -> None:
        self.world.fail_what_lapsed()

    @rule(grant=st.booleans())
    def answer(self, grant: bool) -> None:
        quietly(lambda: self.world.answer(grant=grant))

    @rule()
    def take_the_role(self) -> None:
        self.world.take_the_role()

    @rule()
    def give_the_role(self) -> None:
        self.world.give_the_role()

    @rule()
    def hear(self) -> None:
        self.world.hear()

    @rule(action=st.sampled_from(ReleaseAction), twice=st.booleans())
    def command(self, action: ReleaseAction, twice: bool) -> None:
        quietly(lambda: self.world.command(action))
        self.note()
        if twice:
            before = self.world.last()
            quietly(lambda: self.world.command(action))
            assert self.world.last() == before

    @rule(units=st.sampled_from([0, 10, 400, 100_000]), failed=st.sampled_from([0, 0, 10]))
    def serve(self, units: int, failed: int) -> None:
        self.world.serve(units, min(units, failed))

    @rule()
    def look(self) -> None:
        self.world.look()
        self.note()

    @rule(weight=st.sampled_from([1, 20, 50, 80, 99, 100]), step=st.sampled_from([None, None, 0, 1]))
    def reallocate(self, weight: int, step: int | None) -> None:
        """What a bandit asks for, now or of a step that is over."""
        quietly(lambda: self.world.reallocate(weight, step))
        self.note()

    @rule(seconds=jumps_s)
    def pass_time(self, seconds: int) -> None:
        """Wall time goes on, or is set."""
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule()
    def roll_back(self) -> None:
        self.go_back(None)

    @rule(number=numbers)
    def roll_back_to(self, number: int) -> None:
        self.go_back(number)

    @rule(number=numbers)
    def roll_back_from_another(self, number: int) -> None:
        """Who believes that another version is in production changes nothing."""
        release, production = self.world.last(), self.production()
        rolling = release is not None and release.phase in WITH_TRAFFIC
        if number not in {production, release.number if release is not None and rolling else None}:
            before = self.world.last()
            with pytest.raises(Conflict):
                self.world.roll_back(expected=number)
            assert (self.world.last(), self.production()) == (before, production)

    # -- what must hold -------------------------------------------------------------------------------------

    @invariant()
    def what_must_hold(self) -> None:
        self.note()
        self.world.check()
        standing = tuple(number for number, stands in reversed(self.way_back.completed) if stands)
        assert self.world.completed() == standing

    def teardown(self) -> None:
        """Leave nothing open that the looks of the next life would find."""
        quietly(lambda: self.world.command(ReleaseAction.ABORT))
        quietly(lambda: self.world.command(ReleaseAction.ROLL_BACK))
        self.world.hear()
        self.world.check_all()

    def note(self) -> None:
        """Keep the list of what completed."""
        for release in reversed(self.world.every_release()):
            if release.phase is Phase.COMPLETED and release.id not in self.counted:
                self.counted.add(release.id)
                self.way_back.add(release.number)

    def go_back(self, to: int | None) -> None:
        self.note()
        release, production = self.world.last(), self.production()
        rolling = release if release is not None and release.phase in WITH_TRAFFIC else None
        left = production if rolling is None else rolling.number
        wanted: int | None
        place: int | None = None
        if to is not None and to == production == left:
            wanted = left
        elif rolling is not None and (to is None or to == rolling.champion):
            wanted = rolling.champion
        else:
            place = self.way_back.before(production) if to is None else self.way_back.last(to)
            if place is None:
                with pytest.raises((Conflict, NotFound)):
                    self.ask(to)
                return
            wanted = self.way_back.completed[place][0]
        done = self.ask(to)
        assert (done.left, done.now) == (left, wanted)
        assert self.production() == wanted
        if place is not None:
            self.way_back.stand_at(place)

    def ask(self, to: int | None) -> Rollback:
        return self.world.roll_back_as_seen() if to is None else self.world.roll_back(to=to)

    def production(self) -> int | None:
        found = self.world.read(lambda tx: stages.production(tx, MODEL))
        return None if found is None else found.number


@pytest.mark.both_databases
def test_whatever_happens_what_must_hold_holds(database: Database, clock: ManualClock) -> None:
    examples = 30 if isinstance(database, SqliteDatabase) else 10  # the second is for its SQL
    lives = itertools.count(1)

    class OneOfMany(Life):
        def __init__(self) -> None:
            super().__init__(World(database, clock, f"life-{next(lives)}").begin())

    run_state_machine_as_test(
        OneOfMany,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            deadline=None,
            phases=[hypothesis.Phase.reuse, hypothesis.Phase.generate],  # shrinking would take minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )
    assert chain_is_whole(database)
