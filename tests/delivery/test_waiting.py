"""What a step waits for: how many more units, about how long, and nothing where no traffic brings it on."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.delivery.conftest import Traffic, declaration, declare

from headrace.delivery import canary, releases, waiting
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, Waits
from headrace.kernel.clocks import ManualClock
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.rollout import Canary
from headrace.serving import reports
from headrace.serving.nouns import GatewayReport
from headrace.statistics.sequential import clean_requests_more, within_e_value

OpenTo = Callable[[int], Release]


def waits(database: SqliteDatabase, release: Release) -> Waits:
    database.write(canary.evaluate_open, actor="system")
    found = database.read(lambda tx: waiting.get(tx, release.id))
    assert found.waits is not None
    return found.waits


def measured(database: SqliteDatabase, clock: ManualClock, units_per_s: float) -> None:
    report = GatewayReport(
        gateway="g9", boot="b1", booted_at=clock.now(), url="http://127.0.0.1:1", applied_sequence=1,
        units_per_s={"churn": units_per_s},
    )  # fmt: skip
    database.write(lambda tx: reports.record(tx, report), actor="system")


def test_a_first_version_waits_for_units_without_a_fault(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    assert waits(churn, release) == Waits(units=299, units_per_s=0.0, rest_s=10.0, seconds=None)
    traffic.report(release, 1, units=60)
    measured(churn, clock, 2.0)
    assert waits(churn, release) == Waits(units=239, units_per_s=2.0, rest_s=10.0, seconds=119.5)
    measured(churn, clock, 1000.0)
    assert waits(churn, release).seconds == 10.0, "no sooner than the shortest stay"
    traffic.report(release, 1, units=299)
    assert waits(churn, release).units == 0
    clock.advance(timedelta(seconds=10))
    churn.write(canary.evaluate_open, actor="system")
    cooling = waits(churn, release)
    assert (cooling.units, cooling.rest_s, cooling.seconds) == (0, 3600.0, 3600.0)


def test_exactly_so_many_clean_units_are_enough_after_a_fault(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    traffic.report(release, 1, units=60, failed=1)
    more = waits(churn, release).units
    assert more is not None
    assert more > 239
    clock.advance(timedelta(minutes=1))
    traffic.report(release, 1, units=60 + more - 1, failed=1)
    assert waits(churn, release).units == 1
    traffic.report(release, 1, units=60 + more, failed=1)
    churn.write(canary.evaluate_open, actor="system")
    assert churn.read(lambda tx: releases.get(tx, release.id)).phase is Phase.COOLING


def test_units_of_both_arms_are_told_where_the_traffic_is_shared(
    churn: SqliteDatabase, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    declare(churn, declaration(rollout=Canary([50, 100], slow_tolerance=None, minimum_time="10s")))
    complete(1)
    release = release_to_traffic(2)
    assert waits(churn, release).units == 2 * 299
    traffic.report(release, 1, units=100)
    traffic.report(release, 2, units=99)
    assert waits(churn, release).units == 2 * 200


def test_what_waits_for_nobody_is_told_nothing_and_nothing_is_kept(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    over = complete(1)
    assert churn.read(lambda tx: waiting.get(tx, over.id)).waits is None
    release = release_to_traffic(2)
    assert waits(churn, release).units
    assert churn.read(lambda tx: releases.get(tx, release.id)).waits is None
    assert [one.waits is None for one in churn.read(lambda tx: waiting.search(tx, model="churn"))] == [False, True]


@pytest.mark.parametrize(("requests", "faults"), [(0, 0), (298, 0), (299, 0), (60, 1), (400, 3), (10, 10)])
def test_the_number_is_the_smallest_that_is_enough(requests: int, faults: int) -> None:
    more = clean_requests_more(requests, faults, tolerance=0.01, alpha=0.05)

    def shown(number: int) -> bool:
        return within_e_value(requests + number, faults, tolerance=0.01, alpha=0.05) >= 20

    assert shown(more)
    assert more == 0 or not shown(more - 1)
