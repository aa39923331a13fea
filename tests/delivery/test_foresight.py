"""What a step can show is told before it begins, from the traffic that was measured."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.delivery.conftest import Traffic, declaration, declare

from headrace.delivery import canary, releases
from headrace.delivery.nouns import OpenRelease, Release, ReleaseAction, ReleaseCommand
from headrace.kernel.clocks import ManualClock
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.rollout import Canary
from headrace.serving import reports
from headrace.serving.nouns import GatewayReport, Signal

ABORT = ReleaseCommand(command=ReleaseAction.ABORT)
OpenTo = Callable[[int], Release]


def measure(database: SqliteDatabase, clock: ManualClock, **units_per_s: float) -> None:
    """Gateways that report so many units a second for churn."""
    for gateway, rate in units_per_s.items():
        report = GatewayReport(
            gateway=gateway,
            boot="b1",
            booted_at=clock.now(),
            url="http://127.0.0.1:1",
            applied_sequence=1,
            units_per_s={"churn": rate, "other": 999.0},
        )
        database.write(lambda tx, told=report: reports.record(tx, told), actor="system")  # type: ignore[misc]


def test_every_step_is_told_when_the_release_opens(
    churn: SqliteDatabase, clock: ManualClock, complete: OpenTo
) -> None:
    declare(churn, declaration(rollout=Canary([5, 50, 100], minimum_time="10s")))
    complete(1)
    measure(churn, clock, g7=60.0, g8=40.0)
    opened = churn.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=2)), actor="cy")
    first, second, last = opened.foresight
    assert [step.weight_percent for step in opened.foresight] == [5, 50, 100]
    assert {step.units_per_s for step in opened.foresight} == {100.0}
    # 299 clean units of the challenger's show that fewer than 1 % fail
    assert first.signals[Signal.FAULTS].to_go_on_units == 299 * 20
    assert first.to_go_on_s == pytest.approx(first.to_go_on_units / 100, rel=0.01)
    assert first.to_go_on_units > second.to_go_on_units > last.to_go_on_units
    faults = first.signals[Signal.FAULTS]
    assert faults.rate is not None
    assert faults.rate_until_asked is not None
    assert faults.rate_until_asked < faults.rate < 0.05
    assert faults.always_units is not None
    assert faults.always_units < 200
    assert last.signals[Signal.SLOW].always_units is None  # nobody to compare with


def test_without_traffic_no_time_is_told_and_the_shortest_stay_is_kept(
    churn: SqliteDatabase, clock: ManualClock, complete: OpenTo
) -> None:
    complete(1)
    opened = churn.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=2)), actor="cy")
    assert opened.foresight[0].to_go_on_s is None
    assert opened.foresight[0].signals[Signal.FAULTS].rate_until_asked is None
    churn.write(lambda tx: releases.command(tx, opened.id, ABORT), actor="op")
    measure(churn, clock, g7=1e6)
    again = churn.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=2)), actor="cy")
    assert again.foresight[0].to_go_on_s == 10.0


def test_what_was_told_of_a_step_stays_and_later_ones_are_told_anew(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    measure(churn, clock, g7=10.0)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=20_000, slow_units=1000)
    traffic.report(release, 2, units=1000, slow_units=50)
    clock.advance(timedelta(seconds=10))
    measure(churn, clock, g7=30.0)
    churn.write(canary.evaluate_open, actor="system")
    release = churn.read(lambda tx: releases.get(tx, release.id))
    assert release.state.step == 1
    assert [step.units_per_s for step in release.foresight] == [10.0, 30.0]
