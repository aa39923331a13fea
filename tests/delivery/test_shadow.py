"""A release in shadow: it serves nobody, goes back when it fails more often, and goes on as it was declared to."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.delivery.conftest import Traffic, declaration, declare

from headrace.delivery import canary, history, releases, shadow
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction, ReleaseCommand
from headrace.errors import ProjectError
from headrace.kernel.clocks import ManualClock
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.registry import stages
from headrace.serving import routing
from headrace.serving.gateway.shadowing import compare
from headrace.serving.nouns import Compared, Signal, SignalledUnit

OpenTo = Callable[[int], Release]
RESUME = ReleaseCommand(command=ReleaseAction.RESUME)


@pytest.fixture
def shadowed(churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo) -> Callable[..., Release]:
    """Version 2 as the shadow of version 1."""

    def begin(**declared: Any) -> Release:
        policy = declaration(
            shadow=Shadow(**{"units": 500} | declared), rollout=Canary([5, 100], minimum_time="10s")
        )
        declare(churn, policy)
        complete(1)
        return release_to_traffic(2)

    return begin


def alike(units: int, *, flipped: int = 0) -> Compared:
    """So many units, a few of them decided otherwise."""
    found = Compared()
    for place in range(units):
        old = 0.3 if place % 2 else 0.4
        found = found.plus(compare(old + 0.3 if place < flipped else old + 0.01, old))
    return found


def look(database: SqliteDatabase, release: Release) -> Release:
    for _ in range(2):
        database.write(canary.evaluate_open, actor="system")
    assert not database.read(canary.is_needed)
    return database.read(lambda tx: releases.get(tx, release.id))


def test_it_serves_nobody_and_then_goes_on_to_the_canary(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, shadowed: Callable[..., Release]
) -> None:
    release = shadowed(percent=40)
    assert (release.state.plan.steps, release.state.weight_percent, release.in_shadow) == ((0, 5, 100), 0, True)
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger, route.shadow, route.shadow_percent) == (1, None, 2, 40.0)
    assert {version.number for version in route.versions} == {1, 2}
    assert churn.read(lambda tx: stages.production(tx, "churn")).number == 1  # type: ignore[union-attr]
    traffic.report(release, 1, units=600)
    traffic.report(release, 2, units=600, compared=alike(499))
    clock.advance(timedelta(seconds=10))
    held = look(churn, release)
    assert (held.state.step, held.canary[0].reason) == (0, "499 of 500 units are compared")
    traffic.report(release, 2, units=601, compared=alike(500, flipped=5))
    release = look(churn, release)
    assert (release.state.step, release.state.weight_percent) == (1, 5)
    comparison = release.canary[0].comparison
    assert comparison is not None
    assert (comparison.units, comparison.flips) == (500, 0.01)
    assert comparison.flips_low < 0.01 < comparison.flips_high < 0.05
    assert comparison.difference is not None
    assert comparison.difference == pytest.approx((495 * 0.01 + 5 * 0.3) / 500)
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.challenger, route.shadow, route.shadow_percent) == (2, None, 0.0)


def test_it_waits_for_a_person_where_that_is_declared(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, shadowed: Callable[..., Release]
) -> None:
    release = shadowed(then="person")
    clock.advance(timedelta(days=2))
    assert look(churn, release).state.asked  # there was no traffic; that is no leave to go on later
    traffic.report(release, 1, units=600)
    traffic.report(release, 2, units=600, compared=alike(600))
    waiting = look(churn, release)
    assert (waiting.state.step, waiting.state.paused, waiting.state.waited) == (0, True, True)
    assert waiting.reason.endswith("resume to go on")
    clock.advance(timedelta(days=2))
    assert look(churn, release).state.step == 0
    churn.write(lambda tx: releases.command(tx, release.id, RESUME), actor="op")
    release = look(churn, release)
    assert (release.state.step, release.state.paused) == (1, False)
    assert churn.read(lambda tx: history.of_release(tx, release.id)).agrees


def test_it_goes_back_when_it_fails_where_production_does_not(
    churn: SqliteDatabase, traffic: Traffic, shadowed: Callable[..., Release]
) -> None:
    release = shadowed()
    traffic.report(release, 1, units=100)
    traffic.report(release, 2, units=100, failed=20)
    assert look(churn, release).phase is Phase.ROLLED_BACK
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.shadow) == (1, None)


def test_requests_that_both_fail_on_take_nothing_back(
    churn: SqliteDatabase, traffic: Traffic, shadowed: Callable[..., Release]
) -> None:
    release = shadowed()
    units = tuple(SignalledUnit(signal=Signal.FAULTS, unit=unit) for unit in range(300))
    traffic.report(release, 1, units=5000, signalled=units)
    traffic.report(release, 2, units=5000, signalled=units)
    release = look(churn, release)
    assert release.phase is Phase.ROLLING_OUT
    counts = release.canary[0]
    assert (counts.champion.failed_units, counts.challenger.failed_units) == (300, 300)
    assert counts.signals[Signal.FAULTS].worse_than_champion < 1


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"flips": 0.02}, "not shown to be within 2.00%"),
        ({"difference": 0.01}, "not shown to differ by 0.01"),
    ],
)
def test_answers_that_differ_hold_and_ask_but_take_nothing_back(
    churn: SqliteDatabase,
    clock: ManualClock,
    traffic: Traffic,
    shadowed: Callable[..., Release],
    declared: dict[str, float],
    reason: str,
) -> None:
    release = shadowed(**declared)
    traffic.report(release, 1, units=2000)
    traffic.report(release, 2, units=2000, compared=alike(2000, flipped=200))
    clock.advance(timedelta(minutes=5))
    held = look(churn, release)
    assert (held.phase, held.state.step) == (Phase.ROLLING_OUT, 0)
    assert reason in held.canary[0].reason
    clock.advance(timedelta(days=1))
    assert look(churn, release).state.asked
    traffic.report(release, 2, units=2001, compared=alike(2000))
    clock.advance(timedelta(minutes=5))
    assert look(churn, release).state.step == (1 if "flips" in declared else 0)  # 0.01 apart is not below it


def test_latency_is_not_judged_in_the_shadow_and_is_afterwards(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, shadowed: Callable[..., Release]
) -> None:
    release = shadowed()
    traffic.report(release, 1, units=600)
    traffic.report(release, 2, units=600, slow_units=600, compared=alike(600))
    clock.advance(timedelta(seconds=10))
    release = look(churn, release)
    assert release.state.step == 1
    assert Signal.SLOW not in release.canary[0].signals
    assert Signal.SLOW in release.canary[1].signals
    assert release.canary[1].signals[Signal.SLOW].worse_than_champion == 1.0


def test_counts_of_several_gateways_add_up(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, shadowed: Callable[..., Release]
) -> None:
    release = shadowed()
    for gateway in ("g1", "g2"):
        for _ in range(2):  # and a report that comes twice adds nothing
            traffic.report(release, 1, units=300, gateway=gateway)
            traffic.report(release, 2, units=300, compared=alike(300, flipped=3), gateway=gateway)
    clock.advance(timedelta(seconds=10))
    release = look(churn, release)
    assert release.state.step == 1
    assert release.canary[0].comparison is not None
    assert (release.canary[0].comparison.units, release.canary[0].comparison.flips) == (600, 0.01)


def test_a_first_version_has_nothing_to_be_the_shadow_of(churn: SqliteDatabase, release_to_traffic: OpenTo) -> None:
    declare(churn, declaration(shadow=Shadow()))
    assert release_to_traffic(1).state.plan.steps == (100,)


def test_what_a_shadow_step_can_show_is_told_beforehand(shadowed: Callable[..., Release]) -> None:
    first = shadowed(units=4000).foresight[0]
    assert (first.weight_percent, first.to_go_on_units) == (0, 4000)
    assert set(first.signals) == {Signal.FAULTS, Signal.INVALID_OUTPUTS, Signal.FALLBACKS}
    always = first.signals[Signal.FAULTS].always_units
    assert always is not None
    assert always < 30


def test_a_constant_answer_has_no_correlation() -> None:
    found = shadow.compare(compare(0.5, 0.5).plus(compare(0.5, 0.6)), alpha=0.05)
    assert found is not None
    assert found.correlation is None
    same = shadow.compare(compare(0.1, 0.2).plus(compare(0.3, 0.6)), alpha=0.05)
    assert same is not None
    assert same.correlation == pytest.approx(1.0)
    assert shadow.compare(None, alpha=0.05) is None
    words = shadow.compare(compare("a", "b"), alpha=0.05)
    assert words is not None
    assert (words.flips, words.difference) == (1.0, None)


@pytest.mark.parametrize(
    "wrong", [{"percent": 0}, {"percent": 101}, {"units": 0}, {"flips": 1.0}, {"difference": 0}, {"then": "nobody"}]
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProjectError):
        Shadow(**wrong)


def test_a_shadow_travels_as_json() -> None:
    declared = Shadow(percent=20, flips=0.1, then="person")
    assert msgspec.json.decode(msgspec.json.encode(declared), type=Shadow) == declared
