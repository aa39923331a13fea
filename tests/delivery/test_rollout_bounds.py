"""A policy that bounds the rollout is kept while the release goes on, not only by what its project declares."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.delivery.conftest import Traffic, add_version, declaration, declare
from tests.delivery.test_clearance import look_up, open_release, policy
from tests.delivery.test_experiments import look, measure, new, old

from headrace.delivery import canary, releases, rollback, waiting
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction, ReleaseCommand, RollbackRequest
from headrace.errors import PolicyRefused
from headrace.kernel.clocks import ManualClock
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.experiments import ABTest, Bandit
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.registry import models, stages
from headrace.registry.bounds import RolloutBounds
from headrace.registry.nouns import Stage

OpenTo = Callable[[int], Release]
Begin = Callable[..., Release]
HOUR = timedelta(hours=1)


@pytest.fixture
def begin(churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo) -> Begin:
    """Version 2 beside version 1, in an experiment under a policy that asks for an hour at each step."""

    def work(kind: type[ABTest] | type[Bandit], **declared: Any) -> Release:
        declare(churn, declaration(rollout=Canary([100], minimum_time="1s", cooling="1h")))
        complete(1)
        fields: dict[str, Any] = {"reward": "purchase", "missing": 0.0, "minimum_time": "1h"}
        declare(churn, declaration(rollout=kind(**(fields | declared), slow_tolerance=None), approval=None))
        policy(churn, rollout=RolloutBounds(first_share=5, minimum_time="1h"))
        return release_to_traffic(2)

    return work


def healthy(traffic: Traffic, release: Release) -> None:
    """Enough units without a fault that no signal is left open."""
    traffic.report(release, 1, units=40_000)
    traffic.report(release, 2, units=4_000)


def test_a_step_of_the_ramp_lasts_as_long_as_the_policy_asks(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, begin: Begin
) -> None:
    release = begin(ABTest, ramp=[5], share=50)
    clock.advance(HOUR - timedelta(seconds=1))
    healthy(traffic, release)
    held = look(churn, release)
    assert (held.state.weight_percent, held.canary[-1].verdict) == (5, "ADVANCE")
    waits = churn.read(lambda tx: waiting.told(tx, held)).waits
    assert waits is not None
    assert waits.rest_s == 1.0
    clock.advance(timedelta(seconds=1))
    assert look(churn, held).state.weight_percent == 50


def test_the_last_step_lasts_as_long_as_the_policy_asks(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, begin: Begin
) -> None:
    release = begin(ABTest, share=5)
    healthy(traffic, release)
    clock.advance(HOUR)
    measure(churn, clock, new(4000, 400), old(76_000, 4000))
    release = look(churn, release)
    assert release.state.weight_percent == 100
    healthy(traffic, release)
    clock.advance(HOUR - timedelta(seconds=1))
    assert look(churn, release).phase is Phase.ROLLING_OUT
    clock.advance(timedelta(seconds=1))
    assert look(churn, release).phase is Phase.COOLING


def test_a_bandit_stays_at_each_share_as_long_as_the_policy_asks(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, begin: Begin
) -> None:
    release = begin(Bandit, share=5, floor=5, every="1s", change=1)
    healthy(traffic, release)
    arms = new(40, 8), old(760, 76)
    measure(churn, clock, *arms)
    assert look(churn, release).state.weight_percent == 5
    clock.advance(HOUR)
    measure(churn, clock, *arms)
    moved = look(churn, release)
    assert (moved.state.step, moved.state.weight_percent) == (1, 95)
    healthy(traffic, moved)
    shown = new(9500, 1900, step=1), old(500, 20, step=1)
    measure(churn, clock, *arms, *shown)
    held = look(churn, moved)
    assert (held.state.step, held.canary[-1].verdict) == (1, "ADVANCE")  # time at the share before counts not
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    with pytest.raises(PolicyRefused, match="asks for no laxer than minimum_time=1h"):
        churn.write(lambda tx: releases.command(tx, held.id, promote), actor="op")
    clock.advance(HOUR)
    assert look(churn, held).state.weight_percent == 100


def test_a_bandit_whose_version_is_not_shown_to_be_harmless_gets_no_more_traffic(
    churn: SqliteDatabase, clock: ManualClock, begin: Begin
) -> None:
    release = begin(Bandit, share=5, floor=1, every="1s", change=1)
    clock.advance(HOUR)
    measure(churn, clock, new(40, 8), old(760, 76))
    assert look(churn, release).state.weight_percent == 5
    measure(churn, clock, new(400, 24), old(7600, 760))
    assert look(churn, release).state.weight_percent == 1  # less is never kept back


def test_rewards_alone_do_not_let_a_version_on_under_a_policy(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, begin: Begin
) -> None:
    release = begin(ABTest, share=5)
    clock.advance(HOUR)
    measure(churn, clock, new(4000, 400), old(76_000, 4000))
    held = look(churn, release)
    assert (held.state.weight_percent, held.canary[-1].verdict) == (5, "HOLD")
    assert "it is shown to bring more than version 1" in held.canary[-1].reason
    assert "the evidence on" in held.canary[-1].reason
    policy(churn)  # where none bounds the rollout, the project's word counts: rewards decide
    assert look(churn, held).state.weight_percent == 100


def test_a_margin_as_wide_as_the_rewards_is_beyond_a_policy_that_bounds_it(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    declare(churn, declaration(rollout=ABTest(reward="purchase", share=5, margin=0.999)))
    policy(churn, rollout=RolloutBounds(margin=0.01))
    with pytest.raises(PolicyRefused, match=r"declared with margin=0\.999, .* no laxer than margin=0\.01"):
        release_to_traffic(2)


def test_nobody_is_promoted_straight_out_of_the_shadow_under_a_policy(
    churn: SqliteDatabase, complete: OpenTo, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    complete(1)
    declare(churn, declaration(shadow=Shadow(units=10), rollout=Canary([5, 100], minimum_time="1h")))
    policy(churn, rollout=RolloutBounds(minimum_time="1h"))
    release = release_to_traffic(2)
    assert release.in_shadow
    clock.advance(HOUR)
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="urgent")
    with pytest.raises(PolicyRefused, match=r"it has answered nobody yet, .* no laxer than minimum_time=1h"):
        churn.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    assert look_up(churn, release) == release


@pytest.fixture
def foreign(database: SqliteDatabase) -> SqliteDatabase:
    """A model without a project, two versions of it, and a policy that bounds the rollout."""
    database.write(lambda tx: models.create(tx, "churn"), actor="ana")
    for run in ("r1", "r2"):
        add_version(database, run)
    return database


def archive(database: SqliteDatabase, number: int) -> None:
    database.write(lambda tx: stages.transition(tx, "churn", number, Stage.ARCHIVED), actor="ana")


def test_a_version_is_no_first_one_because_the_champion_was_archived_by_hand(foreign: SqliteDatabase) -> None:
    foreign.write(lambda tx: stages.transition(tx, "churn", 1, Stage.PRODUCTION), actor="ana")
    policy(foreign, rollout=RolloutBounds(first_share=5, minimum_time="1m"))
    archive(foreign, 1)
    with pytest.raises(PolicyRefused, match="version 1 is no longer in Production") as refused:
        open_release(foreign, 2)
    assert "headrace rollback churn --to N" in str(refused.value.fix)
    assert foreign.read(releases.search) == ()
    policy(foreign)
    assert open_release(foreign, 2).state.weight_percent == 100


def test_a_first_version_that_was_rolled_back_leaves_the_next_one_the_first(
    foreign: SqliteDatabase, clock: ManualClock
) -> None:
    policy(foreign, rollout=RolloutBounds(first_share=5, minimum_time="1m"))
    release = open_release(foreign, 1)
    clock.advance(timedelta(minutes=1))
    for action in (ReleaseAction.PROMOTE, ReleaseAction.ROLL_BACK):
        asked = ReleaseCommand(command=action, reason="now")
        foreign.write(lambda tx, asked=asked: releases.command(tx, release.id, asked), actor="op")  # type: ignore[misc]
    assert open_release(foreign, 2).state.weight_percent == 100


def test_a_version_whose_release_completed_is_the_way_back_when_it_was_archived_by_hand(
    foreign: SqliteDatabase, clock: ManualClock
) -> None:
    policy(foreign, rollout=RolloutBounds(first_share=5, minimum_time="1m"))
    release = open_release(foreign, 1)
    clock.advance(timedelta(minutes=1))
    asked = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="now")
    foreign.write(lambda tx: releases.command(tx, release.id, asked), actor="op")
    clock.advance(timedelta(hours=1))
    foreign.write(canary.evaluate_open, actor="system")
    assert look_up(foreign, release).phase is Phase.COMPLETED
    archive(foreign, 1)
    with pytest.raises(PolicyRefused, match="no longer in Production to share the traffic"):
        open_release(foreign, 2)
    foreign.write(lambda tx: rollback.roll_back(tx, "churn", RollbackRequest(to=1)), actor="op")
    assert open_release(foreign, 2).state.weight_percent == 5
